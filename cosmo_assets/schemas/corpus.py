"""The tables of the corpus itself: withdrawals, mixture, shards, lineage, what is shown and proven of it, exports.

Belongs here: their columns. Does not belong here: what documents are judged by before (`screening`, `signals`).
"""

import pyarrow as pa

from cosmo_assets.schemas.columns import COUNT, REAL, TEXT, column

WITHDRAWALS = pa.schema(
    [
        column("action", TEXT, "withdraw, or restore: a withdrawal ends"),
        column("key", TEXT, "What is withdrawn: doc, prompt, seed, source, topic, template, model or licence"),
        column("value", TEXT, "Which one"),
        column("who", TEXT, "Who made the entry", volatile=True),
        column("why", TEXT, "Why", volatile=True),
        column("when", TEXT, "When, UTC", volatile=True),
        column("documents", COUNT, "Documents of the shards that it concerned when it was made", volatile=True),
        column("tokens", COUNT, "Their tokens, all copies and end-of-text tokens included", volatile=True),
    ]
)

MIXTURE = pa.schema(
    [
        column("doc_id", TEXT, "The document", source="deduplicated.doc_id"),
        column("bucket", TEXT, "Its bucket"),
        column("source", TEXT, "Its source", source="prompt_table.source"),
        column("tokens", COUNT, "Tokens of its text, as the server counted", source="generations.completion_tokens"),
        column(
            "copies",
            COUNT,
            "How often it stands in the corpus",
            source="deduplicated.keep,withdrawals.value,prompt_table.topic,prompt_table.audience,prompt_table.format",
        ),
        column(
            "stage_copies",
            pa.list_(COUNT),
            "The same by stage of the recipe, in order; one number where it has none",
            source="mixture.copies",
        ),
    ]
)

CORPUS_DIVERSITY = pa.schema(
    [
        column("measure", TEXT, "The measure", source="generations.text,prompt_table.cluster_id"),
        column("value", REAL, "Its value: in blocks of equal size, the mean over them; of phrases, a share"),
        column("low", REAL, "Lower end of its 95 % interval"),
        column("high", REAL, "Upper end of its 95 % interval"),
        column("n", COUNT, "Generated documents in the corpus", source="mixture.doc_id"),
        column("sample", COUNT, "Of them measured: one of each seed, at most as many as the recipe says"),
    ]
)

TOKENIZED_SHARDS = pa.schema(
    [
        column("shard", TEXT, "Name of the shard file"),
        column("start", COUNT, "First token of the document in the shard"),
        column("end", COUNT, "One past its last token, the end-of-text token included"),
        column("doc_id", TEXT, "The document", source="mixture.doc_id"),
        column("copy", COUNT, "Which of its copies", source="mixture.copies"),
    ]
)

TOKEN_LINEAGE = pa.schema(
    [
        *TOKENIZED_SHARDS,
        column("bucket", TEXT, "Bucket of the document", source="mixture.bucket"),
        column(
            "prompt_id",
            TEXT,
            "Its prompt; of a real document this and what follows from it is null",
            source="generations.prompt_id",
            null=True,
        ),
        column("seed_id", TEXT, "The prompt's seed", source="prompt_table.seed_id", null=True),
        column("source", TEXT, "Source of the seed, or of the real document", source="prompt_table.source"),
        column("licence", TEXT, "Its licence", source="prompt_table.licence"),
        column("cluster_id", COUNT, "The seed's cluster", source="prompt_table.cluster_id", null=True),
        column("topic", TEXT, "The seed's topic", source="prompt_table.topic", null=True),
        column("template", TEXT, "The prompt's template", source="prompt_table.template", null=True),
        column("template_version", TEXT, "The template's version", source="prompt_table.template_version", null=True),
        column("audience", TEXT, "The prompt's audience", source="prompt_table.audience", null=True),
        column("format", TEXT, "The prompt's format", source="prompt_table.format", null=True),
        column("model", TEXT, "The model that wrote it", source="generations.model", null=True),
        column("model_revision", TEXT, "Its revision", source="generations.model_revision", null=True),
        column("sampling", TEXT, "Digest of the sampling parameters", source="generations.sampling", null=True),
    ]
)

PROXY_RUNS = pa.schema(
    [
        column(
            "arm",
            TEXT,
            "The arm: the whole corpus, or it without a part, or a part alone",
            source="token_lineage.source,token_lineage.template,token_lineage.topic",
        ),
        column("seed", COUNT, "Seed of the training, from 0"),
        column("measure", TEXT, "What was measured, of the answers or of a held-out domain"),
        column("place", COUNT, "Number of the question or held-out document, from 1"),
        column("size", REAL, "What it counts: a question 1, a document its bytes"),
        column("score", REAL, "Its score", source="tokenized_shards.doc_id"),
    ]
)

PROXY_EVALUATION = pa.schema(
    [
        column("measure", TEXT, "The measure", source="proxy_runs.measure"),
        column("arm", TEXT, "One arm", source="proxy_runs.arm"),
        column("other", TEXT, "What it is compared with", source="proxy_runs.arm"),
        column("difference", REAL, "Mean of the arm minus that of the other", source="proxy_runs.score"),
        column("low", REAL, "Lower end of its 95 % interval", source="proxy_runs.score"),
        column("high", REAL, "Upper end of its 95 % interval", source="proxy_runs.score"),
        column("arm_is", TEXT, "Of the arm: better, worse or undecided", source="proxy_runs.score"),
    ]
)

CORPUS_REPORT = pa.schema(
    [
        column("section", TEXT, "What the figure is about"),
        column("name", TEXT, "Name of the figure"),
        column("value", REAL, "Its value", source="token_lineage.end,mixture.tokens,generations.status"),
    ]
)

CORPUS_EXPORT = pa.schema(
    [
        column("file", TEXT, "Path inside the exported dataset"),
        column("config", TEXT, "Configuration that it belongs to, beside `default`", source="prompt_table.source"),
        column("split", TEXT, "Split"),
        column("rows", COUNT, "Documents in the file", source="mixture.doc_id"),
    ]
)

PUSH_TO_HUB = pa.schema(
    [
        column("file", TEXT, "Path in the repository", source="corpus_export.file"),
        column("bytes", COUNT, "Its size"),
        column("checksum", TEXT, "Digest of its bytes, as the export's manifest has it"),
    ]
)

EXPORTED_DOCUMENTS = pa.schema(
    [
        column("doc_id", TEXT, "Id of the document", source="mixture.doc_id"),
        column("prompt", TEXT, "The prompt; null for a real document", source="prompt_table.prompt", null=True),
        column("text", TEXT, "The text", source="generations.text"),
        column("token_length", COUNT, "Tokens of the text", source="generations.completion_tokens"),
        column("format", TEXT, "Format", source="prompt_table.format", null=True),
        column("audience", TEXT, "Audience", source="prompt_table.audience", null=True),
        column("seed_data", TEXT, "Source of the seed, or of the real document", source="prompt_table.source"),
        column("topic", TEXT, "Topic", source="prompt_table.topic", null=True),
        column("licence", TEXT, "Its licence", source="prompt_table.licence"),
        column("template", TEXT, "Template", source="prompt_table.template", null=True),
        column("seed_id", TEXT, "Id of the seed", source="prompt_table.seed_id", null=True),
        column("prompt_id", TEXT, "Id of the prompt", source="prompt_table.prompt_id", null=True),
        column("model", TEXT, "Model", source="generations.model", null=True),
        column("copies", COUNT, "Copies in the mixture", source="mixture.copies"),
        column(
            "stage_copies",
            pa.list_(pa.field("element", COUNT)),  # as parquet calls it, so that what is read has this schema
            "The same by stage, in order",
            source="mixture.stage_copies",
        ),
    ]
)
