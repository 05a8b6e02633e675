"""The tables of texts that come from outside: seeds and real documents.

Belongs here: their columns. Does not belong here: what is judged of such texts (`topics`, `signals`).
"""

import pyarrow as pa

from cosmo_assets.schemas.columns import COUNT, REAL, TEXT, column

SEED_DOCUMENTS = pa.schema(
    [
        column("seed_id", TEXT, "Content hash of source, native id and normalized text"),
        column("source", TEXT, "Name of the source in the recipe"),
        column("kind", TEXT, "Kind of source: web, course, book, topic_tree, title_list, maths, code, conversation"),
        column("native_id", TEXT, "The source's own id of the document"),
        column("title", TEXT, "Title, where the source has one", null=True),
        column("text", TEXT, "Cleaned text, personal data masked"),
        column("context", pa.list_(TEXT), "Where it stands in its source: book and chapter, course subject, ..."),
        column("url", TEXT, "Where the source says it comes from", null=True),
        column("language", TEXT, "Language (ISO 639-1) as detected"),
        column("licence", TEXT, "Licence of the text, from the source's own metadata or the recipe"),
        column("attribution", TEXT, "Whom to name", null=True),
        column("masked", COUNT, "How many pieces of personal data were masked in text, title, context and URL"),
        column("toxicity", REAL, "Toxicity score, 0 to 1; null where the text is too short to be judged", null=True),
    ]
)

REAL_DOCUMENTS = pa.schema(
    [
        column("doc_id", TEXT, "Content hash of source, native id and normalized text"),
        column("source", TEXT, "Name of the source in the recipe"),
        column("native_id", TEXT, "The source's own id of the document"),
        column("place", TEXT, "Where it was read: file and row"),
        column("title", TEXT, "Title, where the source has one", null=True),
        column("text", TEXT, "Cleaned text, personal data masked"),
        column("url", TEXT, "Where the source says it comes from", null=True),
        column("language", TEXT, "Language (ISO 639-1) as detected"),
        column("licence", TEXT, "Licence of the text, from the source's own metadata or the recipe"),
        column("attribution", TEXT, "Whom to name", null=True),
        column("masked", COUNT, "How many pieces of personal data were masked"),
        column("toxicity", REAL, "Toxicity score, 0 to 1; null where the text is too short to be judged", null=True),
    ]
)

REAL_ELIGIBLE = pa.schema(
    [
        column(
            "doc_id",
            TEXT,
            "A real document that may stand in the corpus",
            source="real_documents.doc_id,real_documents.licence,benchmark_index.text",
        ),
        column("position", COUNT, "Its position in the signature files"),
        column("source", TEXT, "Its source", source="real_documents.source"),
        column("licence", TEXT, "Its licence", source="real_documents.licence"),
        column("text_hash", TEXT, "Hash of its words", source="real_documents.text"),
        column("words", COUNT, "Words", source="real_documents.text"),
        column("quality", REAL, "Which of several duplicates is the better: 1, for real documents do not differ"),
        column("tokens", COUNT, "Tokens, by the corpus's own tokenizer", source="real_documents.text"),
    ]
)
