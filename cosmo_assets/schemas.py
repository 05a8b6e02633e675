"""The tables of the corpus: one Arrow schema per asset, each column with a description.

Belongs here: every column that a stage writes, and where it comes from (column lineage). Does not belong here: how
it is computed.

A column's metadata holds `description`; `from`, a comma-separated list of `asset.column` that it derives from; and
`volatile` where it may differ between equal runs (seconds, attempts) and so is no part of the dataset's identity.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa

from cosmo_assets.signals.catalogue import CATALOGUE, OF_GENERATED, Signal
from cosmo_resources.storage.digest import VOLATILE

EMBEDDING_DIMENSION = 384
TEXT, COUNT, REAL, FLAG = pa.string(), pa.int64(), pa.float64(), pa.bool_()


def _column(
    name: str, kind: pa.DataType, description: str, *, source: str = "", null: bool = False, volatile: bool = False
) -> pa.Field:
    metadata = {"description": description}
    if source:
        metadata["from"] = source
    if volatile:
        metadata[VOLATILE.decode()] = "true"
    return pa.field(name, kind, nullable=null, metadata=metadata)


SEED_DOCUMENTS = pa.schema(
    [
        _column("seed_id", TEXT, "Content hash of source, native id and normalized text"),
        _column("source", TEXT, "Name of the source in the recipe"),
        _column("kind", TEXT, "Kind of source: web, course, book, topic_tree, title_list, maths, code, conversation"),
        _column("native_id", TEXT, "The source's own id of the document"),
        _column("title", TEXT, "Title, where the source has one", null=True),
        _column("text", TEXT, "Cleaned text, personal data masked"),
        _column("context", pa.list_(TEXT), "Where it stands in its source: book and chapter, course subject, ..."),
        _column("url", TEXT, "Where the source says it comes from", null=True),
        _column("language", TEXT, "Language (ISO 639-1) as detected"),
        _column("licence", TEXT, "Licence of the text, from the source's own metadata or the recipe"),
        _column("attribution", TEXT, "Whom to name", null=True),
        _column("masked", COUNT, "How many pieces of personal data were masked in text, title, context and URL"),
        _column("toxicity", REAL, "Toxicity score, 0 to 1; null where the text is too short to be judged", null=True),
    ]
)

REAL_DOCUMENTS = pa.schema(
    [
        _column("doc_id", TEXT, "Content hash of source, native id and normalized text"),
        _column("source", TEXT, "Name of the source in the recipe"),
        _column("native_id", TEXT, "The source's own id of the document"),
        _column("place", TEXT, "Where it was read: file and row"),
        _column("title", TEXT, "Title, where the source has one", null=True),
        _column("text", TEXT, "Cleaned text, personal data masked"),
        _column("url", TEXT, "Where the source says it comes from", null=True),
        _column("language", TEXT, "Language (ISO 639-1) as detected"),
        _column("licence", TEXT, "Licence of the text, from the source's own metadata or the recipe"),
        _column("attribution", TEXT, "Whom to name", null=True),
        _column("masked", COUNT, "How many pieces of personal data were masked"),
        _column("toxicity", REAL, "Toxicity score, 0 to 1; null where the text is too short to be judged", null=True),
    ]
)

REAL_ELIGIBLE = pa.schema(
    [
        _column(
            "doc_id",
            TEXT,
            "A real document that may stand in the corpus",
            source="real_documents.doc_id,real_documents.licence,benchmark_index.text",
        ),
        _column("position", COUNT, "Its position in the signature files"),
        _column("source", TEXT, "Its source", source="real_documents.source"),
        _column("licence", TEXT, "Its licence", source="real_documents.licence"),
        _column("text_hash", TEXT, "Hash of its words", source="real_documents.text"),
        _column("words", COUNT, "Words", source="real_documents.text"),
        _column("quality", REAL, "Which of several duplicates is the better: 1, for real documents do not differ"),
        _column("tokens", COUNT, "Tokens, by the corpus's own tokenizer", source="real_documents.text"),
    ]
)

_REFERENCE = "seed_documents.text,real_documents.text"

LANGUAGE_MODEL = pa.schema(
    [
        _column("half", COUNT, "The half of the reference that this model has read: it judges texts of the other"),
        _column("order", COUNT, "Words of an n-gram"),
        _column("ngrams", COUNT, "How many of that order the model has", source=_REFERENCE),
    ]
)

EDUCATIONAL_LABELS = pa.schema(
    [
        _column("text_id", TEXT, "A seed or a real document", source="seed_documents.seed_id,real_documents.doc_id"),
        _column("source", TEXT, "The asset that has it"),
        _column("extract", TEXT, "The beginning of its text, which the model was shown", source=_REFERENCE),
        _column("score", COUNT, "What it teaches, 0 to 5; null where no answer could be used", null=True),
        _column("reason", TEXT, "Why, in the model's words", null=True),
        _column("status", TEXT, "ok, or why there is no score: unreadable, refused, failed"),
        _column("answers", pa.list_(TEXT), "The model's raw answers, refused ones included"),
        _column("key", TEXT, "Digest of all that the answer depends on: while it is the same, the row is taken over"),
    ]
)

QUALITY_CLASSIFIER = pa.schema(
    [
        _column("text_id", TEXT, "A labelled text", source="educational_labels.text_id"),
        _column("label", COUNT, "Its label", source="educational_labels.score"),
        _column("score", REAL, "Its score by a classifier that has not seen it", source="educational_labels.extract"),
        _column(
            "probability",
            REAL,
            "The probability, by this score, that the label is 3 or more",
            source="educational_labels.extract",
        ),
    ]
)

SEED_EMBEDDINGS = pa.schema(
    [
        _column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        _column(
            "embedding",
            pa.list_(pa.float16(), EMBEDDING_DIMENSION),
            "Sentence embedding, unit length",
            source="seed_documents.text",
        ),
    ]
)

CLUSTER_MODEL = pa.schema(
    [
        _column("cluster_id", COUNT, "Number of the cluster, by falling size"),
        _column(
            "centroid",
            pa.list_(pa.float32(), EMBEDDING_DIMENSION),
            "Unit centroid",
            source="seed_embeddings.embedding",
        ),
        _column("size", COUNT, "Seeds in the cluster when it was fitted"),
        _column("spread", REAL, "Mean cosine distance of its seeds to the centroid"),
        _column("example_ids", pa.list_(TEXT), "Seeds shown to the labelling model", source="seed_documents.seed_id"),
        _column("extracts", pa.list_(TEXT), "Their extracts", source="seed_documents.text"),
    ]
)

SEED_CLUSTERS = pa.schema(
    [
        _column("seed_id", TEXT, "The seed", source="seed_embeddings.seed_id"),
        _column(
            "cluster_id",
            COUNT,
            "Cluster of most of its nearest fitted seeds",
            source="cluster_model.cluster_id,seed_embeddings.embedding,seed_documents.title,seed_documents.text",
        ),
        _column(
            "distance",
            REAL,
            "Cosine distance to the centroid",
            source="cluster_model.centroid,seed_embeddings.embedding",
        ),
        _column(
            "outlier",
            FLAG,
            "Whether it lies as far from its cluster as the outliers among the fitted seeds",
            source="cluster_model.spread,seed_embeddings.embedding",
        ),
    ]
)

TOPIC_LABELS = pa.schema(
    [
        _column("cluster_id", COUNT, "The cluster", source="cluster_model.cluster_id"),
        _column(
            "topic",
            TEXT,
            "Topic in a few words; null where no answer could be used",
            source="cluster_model.extracts",
            null=True,
        ),
        _column(
            "score",
            REAL,
            "Educational value, 1 to 10: the median of the votes",
            source="cluster_model.extracts",
            null=True,
        ),
        _column("reason", TEXT, "Why, in the words of one vote for the topic", null=True),
        _column("votes", COUNT, "Answers that could be read: two, more where they differed"),
        _column("agreement", REAL, "Share of them with this topic and about this score", null=True),
        _column("heading", TEXT, "Nearest heading of the recipe", source="cluster_model.centroid", null=True),
        _column("similarity", REAL, "Cosine similarity to it", source="cluster_model.centroid", null=True),
        _column("status", TEXT, "ok, or why no answer could be used"),
        _column("answers", pa.list_(TEXT), "The model's raw answers, vote by vote, refused ones included"),
        _column("failed_votes", COUNT, "Votes that failed for a reason of the moment; they are asked again"),
        _column("key", TEXT, "Digest of all that the label depends on: the row is taken over while it stays the same"),
        _column(
            "samples",
            pa.list_(TEXT),
            "First words of its three most central seeds",
            source="cluster_model.extracts",
        ),
    ]
)

TOPIC_TREE = pa.schema(
    [
        _column("topic_id", TEXT, "Content hash of category, subcategory and subtopic"),
        _column("category", TEXT, "Category, as in the tree file"),
        _column("subcategory", TEXT, "Subcategory, as in the tree file"),
        _column("subtopic", TEXT, "The topic itself; a subcategory without any stands for itself"),
        _column(
            "status",
            TEXT,
            "given (named in the file), ok (named by the model), subcategory (no subtopics were wanted), or why the "
            "model named none: unreadable, unusable, refused, failed",
        ),
        _column(
            "key",
            TEXT,
            "Digest of what the model is asked about the subcategory: while it stays the same, the answers are taken "
            "over; null where nothing was asked, or a server did not answer",
            null=True,
        ),
        _column("answers", pa.list_(TEXT), "The model's raw answers for the subcategory"),
    ]
)

TOPIC_SEEDS = pa.schema(
    [
        _column("topic_id", TEXT, "The topic", source="topic_tree.topic_id"),
        _column("seed_id", TEXT, "A seed that the search found for it", source="seed_documents.seed_id"),
        _column(
            "rank", COUNT, "Its rank among the topic's hits, from 1", source="seed_documents.text,topic_tree.subtopic"
        ),
        _column(
            "score",
            REAL,
            "BM25 score in the query with the subtopic boosted",
            source="seed_documents.text,seed_documents.title,topic_tree.category,topic_tree.subcategory,"
            "topic_tree.subtopic",
        ),
    ]
)

SEED_TOPICS = pa.schema(
    [
        _column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        _column("cluster_id", COUNT, "Its cluster", source="seed_clusters.cluster_id"),
        _column("topic_id", TEXT, "Topic-first mode: the topic of the tree", source="topic_seeds.topic_id", null=True),
        _column(
            "topic",
            TEXT,
            "Label of the cluster; in topic-first mode the subtopic",
            source="topic_labels.topic,topic_tree.subtopic",
            null=True,
        ),
        _column("score", REAL, "Educational value of the cluster", source="topic_labels.score", null=True),
        _column(
            "excluded",
            TEXT,
            "Why it becomes no prompts, or null: topic_unlabelled, topic_overridden, heading_denied, topic_denied, "
            "topic_not_allowed, topic_low_score, no_topic",
            source="topic_labels.topic,topic_labels.score,topic_labels.heading,topic_tree.subtopic,"
            "seed_documents.source",
            null=True,
        ),
    ]
)

TOPIC_MAP = pa.schema(
    [
        _column("seed_id", TEXT, "The seed", source="seed_embeddings.seed_id"),
        _column("cluster_id", COUNT, "Its cluster", source="seed_clusters.cluster_id"),
        _column("x", REAL, "Its place on the map, between -1 and 1", source="seed_embeddings.embedding"),
        _column("y", REAL, "The same, upwards", source="seed_embeddings.embedding"),
        _column("laid_out", FLAG, "Whether it spans the layout, or was placed among those that do"),
    ]
)

COURSE_OUTLINES = pa.schema(
    [
        _column("seed_id", TEXT, "The course", source="seed_documents.seed_id"),
        _column("title", TEXT, "Its title", source="seed_documents.title"),
        _column(
            "units",
            pa.list_(TEXT),
            "Titles of its units, cleaned, in order; empty where there is no outline",
            source="seed_documents.title,seed_documents.text",
        ),
        _column("status", TEXT, "ok, or why there is no outline: too_few, unreadable, refused, failed"),
        _column("answers", pa.list_(TEXT), "The model's raw answers, refused ones included"),
        _column("key", TEXT, "Digest of all that the outline depends on: while it is the same, the row is taken over"),
    ]
)

SEED_EXTRACTS = pa.schema(
    [
        _column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        _column("budget", COUNT, "Tokens that it may have at most"),
        _column("segment", COUNT, "Which part of the text of that length, from 0"),
        _column("start", COUNT, "Where it begins in the seed's text, in characters", source="seed_documents.text"),
        _column("end", COUNT, "Where it ends", source="seed_documents.text"),
        _column("tokens", COUNT, "Tokens that it has", source="seed_documents.text"),
    ]
)

PROMPT_TABLE = pa.schema(
    [
        _column(
            "prompt_id",
            TEXT,
            "Content hash of seed, template, audience, format, choices and text",
            source="seed_documents.seed_id",
        ),
        _column("bucket", TEXT, "Bucket: prompt_id modulo the number of buckets"),
        _column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        _column("source", TEXT, "Source of the seed", source="seed_documents.source"),
        _column("kind", TEXT, "Kind of the source", source="seed_documents.kind"),
        _column("licence", TEXT, "Licence of the seed", source="seed_documents.licence"),
        _column("cluster_id", COUNT, "Cluster of the seed", source="seed_topics.cluster_id"),
        _column("topic", TEXT, "Topic of the seed", source="seed_topics.topic", null=True),
        _column("unit", TEXT, "Unit of the course that it is about", source="course_outlines.units", null=True),
        _column("mix", TEXT, "Mix of the recipe that it belongs to"),
        _column("template", TEXT, "Id of the template"),
        _column("template_version", TEXT, "Version of the template"),
        _column("audience", TEXT, "For whom the text shall be"),
        _column("format", TEXT, "What the text shall be"),
        _column("topic_clause", FLAG, "Whether the prompt names the topic (drawn, p from the recipe)"),
        _column(
            "prompt",
            TEXT,
            "The rendered prompt",
            source="seed_documents.text,seed_documents.title,seed_topics.topic,course_outlines.units",
        ),
        _column(
            "extract_start",
            COUNT,
            "Where the extract begins in the seed's text, in characters",
            source="seed_extracts.start",
        ),
        _column("extract_end", COUNT, "Where it ends", source="seed_extracts.end"),
        _column("extract_tokens", COUNT, "Tokens of the extract", source="seed_extracts.tokens"),
        _column("max_tokens", COUNT, "Upper bound of the answer, in tokens"),
    ]
)

TEMPLATE_PILOTS = pa.schema(
    [
        _column(
            "key", TEXT, "Content hash of prompt, model, revision and sampling: the doc_id that the answer would have"
        ),
        _column("variant", TEXT, "Digest of template, model and sampling"),
        _column("template", TEXT, "Id of the template"),
        _column("template_version", TEXT, "Version of the template"),
        _column("model", TEXT, "Model"),
        _column("model_revision", TEXT, "Revision of the model"),
        _column("sampling", TEXT, "Sampling parameters"),
        _column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        _column(
            "prompt", TEXT, "The rendered prompt", source="seed_documents.text,seed_documents.title,seed_topics.topic"
        ),
        _column("extract", TEXT, "What it shows of the seed", source="seed_documents.text,seed_extracts.end"),
        _column("status", TEXT, "ok, failed or refused"),
        _column("text", TEXT, "The answer; empty where there is none"),
        _column("finish_reason", TEXT, "stop, length, or null where there is no answer", null=True),
        _column("error", TEXT, "Why there is no answer", null=True),
        _column("tokens", COUNT, "Tokens of the answer, as the server counts"),
    ]
)

GENERATIONS = pa.schema(
    [
        _column(
            "doc_id", TEXT, "Content hash of prompt, model, revision, sampling, sample", source="prompt_table.prompt_id"
        ),
        _column("prompt_id", TEXT, "The prompt", source="prompt_table.prompt_id"),
        _column("sample_index", COUNT, "Which sample of the prompt"),
        _column("status", TEXT, "ok, failed (asked again at the next build) or refused (the server will not take it)"),
        _column("text", TEXT, "The generated text; empty where there is none", source="prompt_table.prompt"),
        _column("reasoning", TEXT, "What the model thought before it answered, where it says so", null=True),
        _column("finish_reason", TEXT, "stop, length, or null where there is no answer", null=True),
        _column(
            "marks",
            pa.list_(TEXT),
            "What is wrong with the answer on its face: truncated, empty, refusal, repetitive",
            source="generations.text,generations.finish_reason",
        ),
        _column("earlier_turns", TEXT, "Where a row took several requests: those before the last, as JSON", null=True),
        _column("error", TEXT, "Why there is no answer", null=True),
        _column("prompt_tokens", COUNT, "Tokens of the prompt, as the server counts"),
        _column("completion_tokens", COUNT, "Tokens of the answer, as the server counts"),
        _column("model", TEXT, "Model"),
        _column("model_revision", TEXT, "Revision of the model"),
        _column("sampling", TEXT, "Digest of the sampling parameters"),
        _column("request_seed", COUNT, "Sampling seed of the request, drawn from doc_id"),
        _column("engine", TEXT, "What served the request", volatile=True),
        _column("attempts", COUNT, "Requests made for this row, those that failed included", volatile=True),
        _column("seconds", REAL, "Seconds that its answered requests took", volatile=True),
    ]
)

GENERATION_QUALITY = pa.schema(
    [
        _column("doc_id", TEXT, "The document", source="generations.doc_id"),
        _column("keep", FLAG, "Whether it passes every rule", source="generations.text,generations.finish_reason"),
        _column(
            "reasons", pa.list_(TEXT), "Every rule that it breaks, the counted one first", source="generations.text"
        ),
        _column("words", COUNT, "Words", source="generations.text"),
        _column("repetition", REAL, "Share of characters inside repeated 5-grams of words", source="generations.text"),
        _column("language", TEXT, "Language (ISO 639-1) as detected", source="generations.text"),
        _column(
            "seed_overlap", REAL, "Share of the text's 5-grams that stand in its prompt", source="generations.text"
        ),
        _column("opener", TEXT, "First five words, lower-cased", source="generations.text"),
    ]
)

BENCHMARK_INDEX = pa.schema(
    [
        _column("benchmark", TEXT, "The benchmark"),
        _column("item", TEXT, "The benchmark's own id of the item"),
        _column("part", TEXT, "Which text of the item it is: question_answer, choices, ..."),
        _column("text", TEXT, "The text that is searched for"),
        _column("rules", pa.list_(TEXT), "The rules that can find it"),
    ]
)

CONTAMINATED_SEEDS = pa.schema(
    [
        _column("seed_id", TEXT, "The seed; one that holds no item has no row", source="seed_documents.seed_id"),
        _column("rule", TEXT, "The rule that found the item"),
        _column("benchmark", TEXT, "The benchmark"),
        _column("item", TEXT, "The benchmark's item, of several the one with the highest ratio"),
        _column("part", TEXT, "Which text of the item"),
        _column("ratio", REAL, "The share of this text that was found, as its rule measures it"),
        _column(
            "span",
            TEXT,
            "The longest matched run of words",
            source="seed_documents.title,seed_documents.text,benchmark_index.text",
        ),
        _column("items", pa.list_(TEXT), "All items found in it, as benchmark:item"),
    ]
)

DECONTAMINATED = pa.schema(
    [
        _column("doc_id", TEXT, "The document", source="generation_quality.doc_id"),
        _column(
            "keep",
            FLAG,
            "Whether no benchmark item stands in it; with decontamination.seeds: drop, nor in its seed",
            source="generations.text,prompt_table.prompt,benchmark_index.text,contaminated_seeds.item",
        ),
        _column("source", TEXT, "Source of the seed", source="prompt_table.source"),
        _column("place", TEXT, "Where the item was found: text, prompt or seed", null=True),
        _column("rule", TEXT, "The rule that found it", null=True),
        _column("benchmark", TEXT, "The benchmark", null=True),
        _column("item", TEXT, "The benchmark's item, of several the one with the highest ratio", null=True),
        _column("part", TEXT, "Which text of the item", null=True),
        _column("ratio", REAL, "The share of this text that was found, as its rule measures it", null=True),
        _column("span", TEXT, "The longest matched run of words", source="generations.text", null=True),
        _column("items", pa.list_(TEXT), "All items found in text and prompt, as benchmark:item"),
        _column(
            "seed_item",
            TEXT,
            "Where its seed is contaminated: the seed's item, as benchmark:item",
            source="contaminated_seeds.benchmark,contaminated_seeds.item",
            null=True,
        ),
    ]
)

TEXT_SIGNATURES = pa.schema(
    [
        _column("doc_id", TEXT, "The document", source="decontaminated.doc_id"),
        _column("position", COUNT, "Its position in the bucket's signature files"),
        _column("prompt_id", TEXT, "Its prompt", source="generations.prompt_id"),
        _column("text_hash", TEXT, "Hash of its words", source="generations.text"),
        _column("words", COUNT, "Words", source="generation_quality.words"),
        _column(
            "quality",
            REAL,
            "Which of several duplicates is the better: 0 if cut off, else the share outside repetitions, to a tenth",
            source="generation_quality.repetition,generations.finish_reason",
        ),
        _column("tokens", COUNT, "Tokens, as the server counted", source="generations.completion_tokens"),
    ]
)

TEXT_EMBEDDINGS = pa.schema(
    [
        _column("doc_id", TEXT, "The document", source="decontaminated.doc_id"),
        _column(
            "embedding",
            pa.list_(pa.float16(), EMBEDDING_DIMENSION),
            "Embedding of its beginning, unit length",
            source="generations.text",
        ),
    ]
)

DUPLICATE_CLUSTERS = pa.schema(
    [
        _column("doc_id", TEXT, "A document with duplicates", source="text_signatures.doc_id"),
        _column("bucket", TEXT, "Its bucket"),
        _column("method", TEXT, "The method that finds it, and them, among what the methods before it kept"),
        _column("survivor", TEXT, "The document of its cluster that the method keeps; the cluster's name"),
        _column("cluster_size", COUNT, "Documents in the cluster"),
        _column("duplicate_of", TEXT, "The document that stands for it in the end, null for itself", null=True),
        _column("corpus", TEXT, "The corpus which that document is of, null for this one", null=True),
        _column("source", TEXT, "Source of its seed", source="prompt_table.source"),
        _column("topic", TEXT, "Topic of its seed", source="prompt_table.topic", null=True),
        _column("template", TEXT, "Template of its prompt, or (real document)", source="prompt_table.template"),
    ]
)

DEDUPLICATED = pa.schema(
    [
        _column("doc_id", TEXT, "The document", source="text_signatures.doc_id"),
        _column("keep", FLAG, "Whether no better document stands for it", source="duplicate_clusters.survivor"),
        _column("method", TEXT, "The method that drops it", source="duplicate_clusters.method", null=True),
        _column(
            "duplicate_of",
            TEXT,
            "The document that stands for it",
            source="duplicate_clusters.duplicate_of",
            null=True,
        ),
    ]
)


GENERATED = "generations.text"


def _signals(prefix: str, key: str, text: str) -> dict[str, pa.Schema]:
    """The table of each family of signals, by asset; `key` and `text` are the columns that ids and texts come from."""

    def table(family: Sequence[Signal], texts: str) -> pa.Schema:
        figures = (_column(name, kind, meaning, source=texts, null=null) for name, kind, meaning, null in family)
        return pa.schema([_column(key.split(".")[1], TEXT, "The text", source=key), *figures])

    of_generated = text == GENERATED
    return {
        f"{prefix}_{family}": table(signals, f"{text},prompt_table.prompt" if family in OF_GENERATED else text)
        for family, signals in CATALOGUE.items()
        if of_generated or family not in OF_GENERATED
    }


SEED_SIGNALS = _signals("seed", "seed_documents.seed_id", "seed_documents.text")
TEXT_SIGNALS = _signals("text", "decontaminated.doc_id", GENERATED)
REAL_SIGNALS = _signals("real", "real_eligible.doc_id", "real_documents.text")

SELECTION = pa.schema(
    [
        _column("doc_id", TEXT, "The document, of those that deduplication left", source="deduplicated.doc_id"),
        _column(
            "keep",
            FLAG,
            "Whether its signals lie within all limits of the selection",
            source="generation_quality.words,text_statistics.words",
        ),
        _column("reason", TEXT, "The first limit that it breaks; null where it breaks none", null=True),
    ]
)

WITHDRAWALS = pa.schema(
    [
        _column("action", TEXT, "withdraw, or restore: a withdrawal ends"),
        _column("key", TEXT, "What is withdrawn: doc, prompt, seed, source, topic, template, model or licence"),
        _column("value", TEXT, "Which one"),
        _column("who", TEXT, "Who made the entry", volatile=True),
        _column("why", TEXT, "Why", volatile=True),
        _column("when", TEXT, "When, UTC", volatile=True),
        _column("documents", COUNT, "Documents of the shards that it concerned when it was made", volatile=True),
        _column("tokens", COUNT, "Their tokens, all copies and end-of-text tokens included", volatile=True),
    ]
)

MIXTURE = pa.schema(
    [
        _column("doc_id", TEXT, "The document", source="deduplicated.doc_id"),
        _column("bucket", TEXT, "Its bucket"),
        _column("source", TEXT, "Its source", source="prompt_table.source"),
        _column("tokens", COUNT, "Tokens of its text, as the server counted", source="generations.completion_tokens"),
        _column(
            "copies",
            COUNT,
            "How often it stands in the corpus",
            source="deduplicated.keep,withdrawals.value,prompt_table.topic,prompt_table.audience,prompt_table.format",
        ),
        _column(
            "stage_copies",
            pa.list_(COUNT),
            "The same by stage of the recipe, in order; one number where it has none",
            source="mixture.copies",
        ),
    ]
)

CORPUS_DIVERSITY = pa.schema(
    [
        _column("measure", TEXT, "The measure", source="generations.text,prompt_table.cluster_id"),
        _column("value", REAL, "Its value: in blocks of equal size, the mean over them; of phrases, a share"),
        _column("low", REAL, "Lower end of its 95 % interval"),
        _column("high", REAL, "Upper end of its 95 % interval"),
        _column("n", COUNT, "Generated documents in the corpus", source="mixture.doc_id"),
        _column("sample", COUNT, "Of them measured: one of each seed, at most as many as the recipe says"),
    ]
)

FILTERING_COSTS = pa.schema(
    [
        _column("signal", TEXT, "The signal, `family.column`", source="generation_quality.words,text_statistics.words"),
        _column("prefer", TEXT, "Which of its values are kept: high or low"),
        _column("rule", TEXT, "How: ranks, the best; pareto and gumbel, drawn"),
        _column("fraction", REAL, "Of the documents that have the signal, how many are kept"),
        _column(
            "measure",
            TEXT,
            "documents, tokens, effective, share, divergence, vendi or retention",
            source="generations.completion_tokens,prompt_table.topic,prompt_table.source,generations.text",
        ),
        _column("part", TEXT, "Of a share the domain, of a retention the group of people", null=True),
        _column("value", REAL, "What it is where so many are kept"),
    ]
)

TOKENIZED_SHARDS = pa.schema(
    [
        _column("shard", TEXT, "Name of the shard file"),
        _column("start", COUNT, "First token of the document in the shard"),
        _column("end", COUNT, "One past its last token, the end-of-text token included"),
        _column("doc_id", TEXT, "The document", source="mixture.doc_id"),
        _column("copy", COUNT, "Which of its copies", source="mixture.copies"),
    ]
)

TOKEN_LINEAGE = pa.schema(
    [
        *TOKENIZED_SHARDS,
        _column("bucket", TEXT, "Bucket of the document", source="mixture.bucket"),
        _column(
            "prompt_id",
            TEXT,
            "Its prompt; of a real document this and what follows from it is null",
            source="generations.prompt_id",
            null=True,
        ),
        _column("seed_id", TEXT, "The prompt's seed", source="prompt_table.seed_id", null=True),
        _column("source", TEXT, "Source of the seed, or of the real document", source="prompt_table.source"),
        _column("licence", TEXT, "Its licence", source="prompt_table.licence"),
        _column("cluster_id", COUNT, "The seed's cluster", source="prompt_table.cluster_id", null=True),
        _column("topic", TEXT, "The seed's topic", source="prompt_table.topic", null=True),
        _column("template", TEXT, "The prompt's template", source="prompt_table.template", null=True),
        _column("template_version", TEXT, "The template's version", source="prompt_table.template_version", null=True),
        _column("audience", TEXT, "The prompt's audience", source="prompt_table.audience", null=True),
        _column("format", TEXT, "The prompt's format", source="prompt_table.format", null=True),
        _column("model", TEXT, "The model that wrote it", source="generations.model", null=True),
        _column("model_revision", TEXT, "Its revision", source="generations.model_revision", null=True),
        _column("sampling", TEXT, "Digest of the sampling parameters", source="generations.sampling", null=True),
    ]
)

PROXY_RUNS = pa.schema(
    [
        _column(
            "arm",
            TEXT,
            "The arm: the whole corpus, or it without a part, or a part alone",
            source="token_lineage.source,token_lineage.template,token_lineage.topic",
        ),
        _column("seed", COUNT, "Seed of the training, from 0"),
        _column("measure", TEXT, "What was measured, of the answers or of a held-out domain"),
        _column("place", COUNT, "Number of the question or held-out document, from 1"),
        _column("size", REAL, "What it counts: a question 1, a document its bytes"),
        _column("score", REAL, "Its score", source="tokenized_shards.doc_id"),
    ]
)

PROXY_EVALUATION = pa.schema(
    [
        _column("measure", TEXT, "The measure", source="proxy_runs.measure"),
        _column("arm", TEXT, "One arm", source="proxy_runs.arm"),
        _column("other", TEXT, "What it is compared with", source="proxy_runs.arm"),
        _column("difference", REAL, "Mean of the arm minus that of the other", source="proxy_runs.score"),
        _column("low", REAL, "Lower end of its 95 % interval", source="proxy_runs.score"),
        _column("high", REAL, "Upper end of its 95 % interval", source="proxy_runs.score"),
        _column("arm_is", TEXT, "Of the arm: better, worse or undecided", source="proxy_runs.score"),
    ]
)

CORPUS_REPORT = pa.schema(
    [
        _column("section", TEXT, "What the figure is about"),
        _column("name", TEXT, "Name of the figure"),
        _column("value", REAL, "Its value", source="token_lineage.end,mixture.tokens,generations.status"),
    ]
)

CORPUS_EXPORT = pa.schema(
    [
        _column("file", TEXT, "Path inside the exported dataset"),
        _column("config", TEXT, "Configuration that it belongs to, beside `default`", source="prompt_table.source"),
        _column("split", TEXT, "Split"),
        _column("rows", COUNT, "Documents in the file", source="mixture.doc_id"),
    ]
)

PUSH_TO_HUB = pa.schema(
    [
        _column("file", TEXT, "Path in the repository", source="corpus_export.file"),
        _column("bytes", COUNT, "Its size"),
        _column("checksum", TEXT, "Digest of its bytes, as the export's manifest has it"),
    ]
)

EXPORTED_DOCUMENTS = pa.schema(
    [
        _column("doc_id", TEXT, "Id of the document", source="mixture.doc_id"),
        _column("prompt", TEXT, "The prompt; null for a real document", source="prompt_table.prompt", null=True),
        _column("text", TEXT, "The text", source="generations.text"),
        _column("token_length", COUNT, "Tokens of the text", source="generations.completion_tokens"),
        _column("format", TEXT, "Format", source="prompt_table.format", null=True),
        _column("audience", TEXT, "Audience", source="prompt_table.audience", null=True),
        _column("seed_data", TEXT, "Source of the seed, or of the real document", source="prompt_table.source"),
        _column("topic", TEXT, "Topic", source="prompt_table.topic", null=True),
        _column("licence", TEXT, "Its licence", source="prompt_table.licence"),
        _column("template", TEXT, "Template", source="prompt_table.template", null=True),
        _column("seed_id", TEXT, "Id of the seed", source="prompt_table.seed_id", null=True),
        _column("prompt_id", TEXT, "Id of the prompt", source="prompt_table.prompt_id", null=True),
        _column("model", TEXT, "Model", source="generations.model", null=True),
        _column("copies", COUNT, "Copies in the mixture", source="mixture.copies"),
        _column(
            "stage_copies",
            pa.list_(pa.field("element", COUNT)),  # as parquet calls it, so that what is read has this schema
            "The same by stage, in order",
            source="mixture.stage_copies",
        ),
    ]
)

TABLES: dict[str, pa.Schema] = {
    "seed_documents": SEED_DOCUMENTS,
    "language_model": LANGUAGE_MODEL,
    "educational_labels": EDUCATIONAL_LABELS,
    "quality_classifier": QUALITY_CLASSIFIER,
    **SEED_SIGNALS,
    "seed_embeddings": SEED_EMBEDDINGS,
    "cluster_model": CLUSTER_MODEL,
    "seed_clusters": SEED_CLUSTERS,
    "topic_labels": TOPIC_LABELS,
    "topic_tree": TOPIC_TREE,
    "topic_seeds": TOPIC_SEEDS,
    "seed_topics": SEED_TOPICS,
    "topic_map": TOPIC_MAP,
    "seed_extracts": SEED_EXTRACTS,
    "course_outlines": COURSE_OUTLINES,
    "prompt_table": PROMPT_TABLE,
    "template_pilots": TEMPLATE_PILOTS,
    "generations": GENERATIONS,
    "generation_quality": GENERATION_QUALITY,
    "benchmark_index": BENCHMARK_INDEX,
    "contaminated_seeds": CONTAMINATED_SEEDS,
    "decontaminated": DECONTAMINATED,
    "text_signatures": TEXT_SIGNATURES,
    "text_embeddings": TEXT_EMBEDDINGS,
    **TEXT_SIGNALS,
    "real_documents": REAL_DOCUMENTS,
    "real_eligible": REAL_ELIGIBLE,
    **REAL_SIGNALS,
    "duplicate_clusters": DUPLICATE_CLUSTERS,
    "deduplicated": DEDUPLICATED,
    "withdrawals": WITHDRAWALS,
    "selection": SELECTION,
    "mixture": MIXTURE,
    "corpus_diversity": CORPUS_DIVERSITY,
    "tokenized_shards": TOKENIZED_SHARDS,
    "token_lineage": TOKEN_LINEAGE,
    "proxy_runs": PROXY_RUNS,
    "proxy_evaluation": PROXY_EVALUATION,
    "filtering_costs": FILTERING_COSTS,
    "corpus_report": CORPUS_REPORT,
    "corpus_export": CORPUS_EXPORT,
    "push_to_hub": PUSH_TO_HUB,
}
"""Every asset with a table, in the order of the pipeline."""


def numeric_columns(table: pa.Schema) -> list[str]:
    """The names of the columns that hold numbers."""
    return [field.name for field in table if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)]


def description(field: pa.Field) -> str:
    return str((field.metadata or {})[b"description"].decode())


def origins(field: pa.Field) -> Iterator[tuple[str, str]]:
    """The (asset, column) pairs that a column derives from."""
    for item in (field.metadata or {}).get(b"from", b"").decode().split(","):
        if item:
            asset, column = item.split(".")
            yield asset, column
