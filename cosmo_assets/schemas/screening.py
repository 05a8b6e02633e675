"""The tables of decontamination and deduplication.

Belongs here: their columns. Does not belong here: what is measured of a text by itself (`signals`).
"""

import pyarrow as pa

from cosmo_assets.schemas.columns import COUNT, EMBEDDING_DIMENSION, FLAG, REAL, TEXT, column

BENCHMARK_INDEX = pa.schema(
    [
        column("benchmark", TEXT, "The benchmark"),
        column("item", TEXT, "The benchmark's own id of the item"),
        column("part", TEXT, "Which text of the item it is: question_answer, choices, ..."),
        column("text", TEXT, "The text that is searched for"),
        column("rules", pa.list_(TEXT), "The rules that can find it"),
    ]
)

CONTAMINATED_SEEDS = pa.schema(
    [
        column("seed_id", TEXT, "The seed; one that holds no item has no row", source="seed_documents.seed_id"),
        column("rule", TEXT, "The rule that found the item"),
        column("benchmark", TEXT, "The benchmark"),
        column("item", TEXT, "The benchmark's item, of several the one with the highest ratio"),
        column("part", TEXT, "Which text of the item"),
        column("ratio", REAL, "The share of this text that was found, as its rule measures it"),
        column(
            "span",
            TEXT,
            "The longest matched run of words",
            source="seed_documents.title,seed_documents.text,benchmark_index.text",
        ),
        column("items", pa.list_(TEXT), "All items found in it, as benchmark:item"),
    ]
)

DECONTAMINATED = pa.schema(
    [
        column("doc_id", TEXT, "The document", source="generation_quality.doc_id"),
        column(
            "keep",
            FLAG,
            "Whether no benchmark item stands in it; with decontamination.seeds: drop, nor in its seed",
            source="generations.text,prompt_table.prompt,benchmark_index.text,contaminated_seeds.item",
        ),
        column("source", TEXT, "Source of the seed", source="prompt_table.source"),
        column("place", TEXT, "Where the item was found: text, prompt or seed", null=True),
        column("rule", TEXT, "The rule that found it", null=True),
        column("benchmark", TEXT, "The benchmark", null=True),
        column("item", TEXT, "The benchmark's item, of several the one with the highest ratio", null=True),
        column("part", TEXT, "Which text of the item", null=True),
        column("ratio", REAL, "The share of this text that was found, as its rule measures it", null=True),
        column("span", TEXT, "The longest matched run of words", source="generations.text", null=True),
        column("items", pa.list_(TEXT), "All items found in text and prompt, as benchmark:item"),
        column(
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
        column("doc_id", TEXT, "The document", source="decontaminated.doc_id"),
        column("position", COUNT, "Its position in the bucket's signature files"),
        column("prompt_id", TEXT, "Its prompt", source="generations.prompt_id"),
        column("text_hash", TEXT, "Hash of its words", source="generations.text"),
        column("words", COUNT, "Words", source="generation_quality.words"),
        column(
            "quality",
            REAL,
            "Which of several duplicates is the better: 0 if cut off, else the share outside repetitions, to a tenth",
            source="generation_quality.repetition,generations.finish_reason",
        ),
        column("tokens", COUNT, "Tokens, as the server counted", source="generations.completion_tokens"),
    ]
)

TEXT_EMBEDDINGS = pa.schema(
    [
        column("doc_id", TEXT, "The document", source="decontaminated.doc_id"),
        column(
            "embedding",
            pa.list_(pa.float16(), EMBEDDING_DIMENSION),
            "Embedding of its beginning, unit length",
            source="generations.text",
        ),
    ]
)

DUPLICATE_CLUSTERS = pa.schema(
    [
        column("doc_id", TEXT, "A document with duplicates", source="text_signatures.doc_id"),
        column("bucket", TEXT, "Its bucket"),
        column("method", TEXT, "The method that finds it, and them, among what the methods before it kept"),
        column("survivor", TEXT, "The document of its cluster that the method keeps; the cluster's name"),
        column("cluster_size", COUNT, "Documents in the cluster"),
        column("duplicate_of", TEXT, "The document that stands for it in the end, null for itself", null=True),
        column("corpus", TEXT, "The corpus which that document is of, null for this one", null=True),
        column("source", TEXT, "Source of its seed", source="prompt_table.source"),
        column("topic", TEXT, "Topic of its seed", source="prompt_table.topic", null=True),
        column("template", TEXT, "Template of its prompt, or (real document)", source="prompt_table.template"),
    ]
)

DEDUPLICATED = pa.schema(
    [
        column("doc_id", TEXT, "The document", source="text_signatures.doc_id"),
        column("keep", FLAG, "Whether no better document stands for it", source="duplicate_clusters.survivor"),
        column("method", TEXT, "The method that drops it", source="duplicate_clusters.method", null=True),
        column(
            "duplicate_of",
            TEXT,
            "The document that stands for it",
            source="duplicate_clusters.duplicate_of",
            null=True,
        ),
    ]
)
