"""The tables of what seeds are about: embeddings, clusters, labels, the tree of topics, the map.

Belongs here: their columns. Does not belong here: seeds themselves (`sources`).
"""

import pyarrow as pa

from cosmo_assets.schemas.columns import COUNT, EMBEDDING_DIMENSION, FLAG, REAL, TEXT, column

SEED_EMBEDDINGS = pa.schema(
    [
        column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        column(
            "embedding",
            pa.list_(pa.float16(), EMBEDDING_DIMENSION),
            "Sentence embedding, unit length",
            source="seed_documents.text",
        ),
    ]
)

CLUSTER_MODEL = pa.schema(
    [
        column("cluster_id", COUNT, "Number of the cluster, by falling size"),
        column(
            "centroid",
            pa.list_(pa.float32(), EMBEDDING_DIMENSION),
            "Unit centroid",
            source="seed_embeddings.embedding",
        ),
        column("size", COUNT, "Seeds in the cluster when it was fitted"),
        column("spread", REAL, "Mean cosine distance of its seeds to the centroid"),
        column("example_ids", pa.list_(TEXT), "Seeds shown to the labelling model", source="seed_documents.seed_id"),
        column("extracts", pa.list_(TEXT), "Their extracts", source="seed_documents.text"),
    ]
)

SEED_CLUSTERS = pa.schema(
    [
        column("seed_id", TEXT, "The seed", source="seed_embeddings.seed_id"),
        column(
            "cluster_id",
            COUNT,
            "Cluster of most of its nearest fitted seeds",
            source="cluster_model.cluster_id,seed_embeddings.embedding,seed_documents.title,seed_documents.text",
        ),
        column(
            "distance",
            REAL,
            "Cosine distance to the centroid",
            source="cluster_model.centroid,seed_embeddings.embedding",
        ),
        column(
            "outlier",
            FLAG,
            "Whether it lies as far from its cluster as the outliers among the fitted seeds",
            source="cluster_model.spread,seed_embeddings.embedding",
        ),
    ]
)

TOPIC_LABELS = pa.schema(
    [
        column("cluster_id", COUNT, "The cluster", source="cluster_model.cluster_id"),
        column(
            "topic",
            TEXT,
            "Topic in a few words; null where no answer could be used",
            source="cluster_model.extracts",
            null=True,
        ),
        column(
            "score",
            REAL,
            "Educational value, 1 to 10: the median of the votes",
            source="cluster_model.extracts",
            null=True,
        ),
        column("reason", TEXT, "Why, in the words of one vote for the topic", null=True),
        column("votes", COUNT, "Answers that could be read: two, more where they differed"),
        column("agreement", REAL, "Share of them with this topic and about this score", null=True),
        column("heading", TEXT, "Nearest heading of the recipe", source="cluster_model.centroid", null=True),
        column("similarity", REAL, "Cosine similarity to it", source="cluster_model.centroid", null=True),
        column("status", TEXT, "ok, or why no answer could be used"),
        column("answers", pa.list_(TEXT), "The model's raw answers, vote by vote, refused ones included"),
        column("failed_votes", COUNT, "Votes that failed for a reason of the moment; they are asked again"),
        column("key", TEXT, "Digest of all that the label depends on: the row is taken over while it stays the same"),
        column(
            "samples",
            pa.list_(TEXT),
            "First words of its three most central seeds",
            source="cluster_model.extracts",
        ),
    ]
)

TOPIC_TREE = pa.schema(
    [
        column("topic_id", TEXT, "Content hash of category, subcategory and subtopic"),
        column("category", TEXT, "Category, as in the tree file"),
        column("subcategory", TEXT, "Subcategory, as in the tree file"),
        column("subtopic", TEXT, "The topic itself; a subcategory without any stands for itself"),
        column(
            "status",
            TEXT,
            "given (named in the file), ok (named by the model), subcategory (no subtopics were wanted), or why the "
            "model named none: unreadable, unusable, refused, failed",
        ),
        column(
            "key",
            TEXT,
            "Digest of what the model is asked about the subcategory: while it stays the same, the answers are taken "
            "over; null where nothing was asked, or a server did not answer",
            null=True,
        ),
        column("answers", pa.list_(TEXT), "The model's raw answers for the subcategory"),
    ]
)

TOPIC_SEEDS = pa.schema(
    [
        column("topic_id", TEXT, "The topic", source="topic_tree.topic_id"),
        column("seed_id", TEXT, "A seed that the search found for it", source="seed_documents.seed_id"),
        column(
            "rank", COUNT, "Its rank among the topic's hits, from 1", source="seed_documents.text,topic_tree.subtopic"
        ),
        column(
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
        column("seed_id", TEXT, "The seed", source="seed_documents.seed_id"),
        column("cluster_id", COUNT, "Its cluster", source="seed_clusters.cluster_id"),
        column("topic_id", TEXT, "Topic-first mode: the topic of the tree", source="topic_seeds.topic_id", null=True),
        column(
            "topic",
            TEXT,
            "Label of the cluster; in topic-first mode the subtopic",
            source="topic_labels.topic,topic_tree.subtopic",
            null=True,
        ),
        column("score", REAL, "Educational value of the cluster", source="topic_labels.score", null=True),
        column(
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
        column("seed_id", TEXT, "The seed", source="seed_embeddings.seed_id"),
        column("cluster_id", COUNT, "Its cluster", source="seed_clusters.cluster_id"),
        column("x", REAL, "Its place on the map, between -1 and 1", source="seed_embeddings.embedding"),
        column("y", REAL, "The same, upwards", source="seed_embeddings.embedding"),
        column("laid_out", FLAG, "Whether it spans the layout, or was placed among those that do"),
    ]
)
