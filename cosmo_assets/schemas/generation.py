"""The tables from a seed to a text: outlines, extracts, prompts, pilots, generations and their quality.

Belongs here: their columns. Does not belong here: what leaves generated texts out (`screening`, `signals`).
"""

import pyarrow as pa

from cosmo_assets.schemas.columns import COUNT, FLAG, REAL, TEXT, column

COURSE_OUTLINES = pa.schema(
    [
        column("seed_id", TEXT, "The course", source="seed_documents.seed_id"),
        column("title", TEXT, "Its title", source="seed_documents.title"),
        column(
            "units",
            pa.list_(TEXT),
            "Titles of its units, cleaned, in order; empty where there is no outline",
            source="seed_documents.title,seed_documents.text",
        ),
        column("status", TEXT, "ok, or why there is no outline: too_few, unreadable, refused, failed"),
        column("answers", pa.list_(TEXT), "The model's raw answers, refused ones included"),
        column("key", TEXT, "Digest of all that the outline depends on: while it is the same, the row is taken over"),
    ]
)

SEED_EXTRACTS = pa.schema(
    [
        column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        column("budget", COUNT, "Tokens that it may have at most"),
        column("segment", COUNT, "Which part of the text of that length, from 0"),
        column("start", COUNT, "Where it begins in the seed's text, in characters", source="seed_documents.text"),
        column("end", COUNT, "Where it ends", source="seed_documents.text"),
        column("tokens", COUNT, "Tokens that it has", source="seed_documents.text"),
    ]
)

PROMPT_TABLE = pa.schema(
    [
        column(
            "prompt_id",
            TEXT,
            "Content hash of seed, template, audience, format, choices and text",
            source="seed_documents.seed_id",
        ),
        column("bucket", TEXT, "Bucket: prompt_id modulo the number of buckets"),
        column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        column("source", TEXT, "Source of the seed", source="seed_documents.source"),
        column("kind", TEXT, "Kind of the source", source="seed_documents.kind"),
        column("licence", TEXT, "Licence of the seed", source="seed_documents.licence"),
        column("cluster_id", COUNT, "Cluster of the seed", source="seed_topics.cluster_id"),
        column("topic", TEXT, "Topic of the seed", source="seed_topics.topic", null=True),
        column("unit", TEXT, "Unit of the course that it is about", source="course_outlines.units", null=True),
        column("mix", TEXT, "Mix of the recipe that it belongs to"),
        column("template", TEXT, "Id of the template"),
        column("template_version", TEXT, "Version of the template"),
        column("audience", TEXT, "For whom the text shall be"),
        column("format", TEXT, "What the text shall be"),
        column("topic_clause", FLAG, "Whether the prompt names the topic (drawn, p from the recipe)"),
        column(
            "prompt",
            TEXT,
            "The rendered prompt",
            source="seed_documents.text,seed_documents.title,seed_topics.topic,course_outlines.units",
        ),
        column(
            "extract_start",
            COUNT,
            "Where the extract begins in the seed's text, in characters",
            source="seed_extracts.start",
        ),
        column("extract_end", COUNT, "Where it ends", source="seed_extracts.end"),
        column("extract_tokens", COUNT, "Tokens of the extract", source="seed_extracts.tokens"),
        column("max_tokens", COUNT, "Upper bound of the answer, in tokens"),
    ]
)

TEMPLATE_PILOTS = pa.schema(
    [
        column(
            "key", TEXT, "Content hash of prompt, model, revision and sampling: the doc_id that the answer would have"
        ),
        column("variant", TEXT, "Digest of template, model and sampling"),
        column("template", TEXT, "Id of the template"),
        column("template_version", TEXT, "Version of the template"),
        column("model", TEXT, "Model"),
        column("model_revision", TEXT, "Revision of the model"),
        column("sampling", TEXT, "Sampling parameters"),
        column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        column(
            "prompt", TEXT, "The rendered prompt", source="seed_documents.text,seed_documents.title,seed_topics.topic"
        ),
        column("extract", TEXT, "What it shows of the seed", source="seed_documents.text,seed_extracts.end"),
        column("status", TEXT, "ok, failed or refused"),
        column("text", TEXT, "The answer; empty where there is none"),
        column("finish_reason", TEXT, "stop, length, or null where there is no answer", null=True),
        column("error", TEXT, "Why there is no answer", null=True),
        column("tokens", COUNT, "Tokens of the answer, as the server counts"),
    ]
)

GENERATIONS = pa.schema(
    [
        column(
            "doc_id", TEXT, "Content hash of prompt, model, revision, sampling, sample", source="prompt_table.prompt_id"
        ),
        column("prompt_id", TEXT, "The prompt", source="prompt_table.prompt_id"),
        column("sample_index", COUNT, "Which sample of the prompt"),
        column("status", TEXT, "ok, failed (asked again at the next build) or refused (the server will not take it)"),
        column("text", TEXT, "The generated text; empty where there is none", source="prompt_table.prompt"),
        column("reasoning", TEXT, "What the model thought before it answered, where it says so", null=True),
        column("finish_reason", TEXT, "stop, length, or null where there is no answer", null=True),
        column(
            "marks",
            pa.list_(TEXT),
            "What is wrong with the answer on its face: truncated, empty, refusal, repetitive",
            source="generations.text,generations.finish_reason",
        ),
        column("earlier_turns", TEXT, "Where a row took several requests: those before the last, as JSON", null=True),
        column("error", TEXT, "Why there is no answer", null=True),
        column("prompt_tokens", COUNT, "Tokens of the prompt, as the server counts"),
        column("completion_tokens", COUNT, "Tokens of the answer, as the server counts"),
        column("model", TEXT, "Model"),
        column("model_revision", TEXT, "Revision of the model"),
        column("sampling", TEXT, "Digest of the sampling parameters"),
        column("request_seed", COUNT, "Sampling seed of the request, drawn from doc_id"),
        column("engine", TEXT, "What served the request", volatile=True),
        column("attempts", COUNT, "Requests made for this row, those that failed included", volatile=True),
        column("seconds", REAL, "Seconds that its answered requests took", volatile=True),
    ]
)

GENERATION_QUALITY = pa.schema(
    [
        column("doc_id", TEXT, "The document", source="generations.doc_id"),
        column("keep", FLAG, "Whether it passes every rule", source="generations.text,generations.finish_reason"),
        column(
            "reasons", pa.list_(TEXT), "Every rule that it breaks, the counted one first", source="generations.text"
        ),
        column("words", COUNT, "Words", source="generations.text"),
        column("repetition", REAL, "Share of characters inside repeated 5-grams of words", source="generations.text"),
        column("language", TEXT, "Language (ISO 639-1) as detected", source="generations.text"),
        column("seed_overlap", REAL, "Share of the text's 5-grams that stand in its prompt", source="generations.text"),
        column("opener", TEXT, "First five words, lower-cased", source="generations.text"),
    ]
)
