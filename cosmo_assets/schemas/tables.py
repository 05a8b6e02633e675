"""The tables of the corpus, in order: one Arrow schema per asset, each column with a description.

Belongs here: which asset has which table. Does not belong here: columns (the modules beside), or how they are
computed.
"""

import pyarrow as pa

from cosmo_assets.schemas.corpus import (
    CORPUS_DIVERSITY,
    CORPUS_EXPORT,
    CORPUS_REPORT,
    MIXTURE,
    PROXY_EVALUATION,
    PROXY_RUNS,
    PUSH_TO_HUB,
    TOKEN_LINEAGE,
    TOKENIZED_SHARDS,
    WITHDRAWALS,
)
from cosmo_assets.schemas.generation import (
    COURSE_OUTLINES,
    GENERATION_QUALITY,
    GENERATIONS,
    PROMPT_TABLE,
    SEED_EXTRACTS,
    TEMPLATE_PILOTS,
)
from cosmo_assets.schemas.screening import (
    BENCHMARK_INDEX,
    CONTAMINATED_SEEDS,
    DECONTAMINATED,
    DEDUPLICATED,
    DUPLICATE_CLUSTERS,
    TEXT_EMBEDDINGS,
    TEXT_SIGNATURES,
)
from cosmo_assets.schemas.signals import (
    EDUCATIONAL_LABELS,
    FILTERING_COSTS,
    LANGUAGE_MODEL,
    QUALITY_CLASSIFIER,
    REAL_SIGNALS,
    SEED_SIGNALS,
    SELECTION,
    TEXT_SIGNALS,
)
from cosmo_assets.schemas.sources import REAL_DOCUMENTS, REAL_ELIGIBLE, SEED_DOCUMENTS
from cosmo_assets.schemas.topics import (
    CLUSTER_MODEL,
    SEED_CLUSTERS,
    SEED_EMBEDDINGS,
    SEED_TOPICS,
    TOPIC_LABELS,
    TOPIC_MAP,
    TOPIC_SEEDS,
    TOPIC_TREE,
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
