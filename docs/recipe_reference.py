"""The tables of docs/recipes.md: fields of a recipe, readers and their options, shipped templates.

Belongs here: what each field and reader is for, in words. Does not belong here: types, bounds and defaults; they are
read from the code. A field without a meaning here, or a meaning without a field, is an error:
`tests/unit/test_documents.py` compares the tables with the page.
"""

import html
import types
from collections.abc import Collection, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pyarrow as pa
import pydantic
from pydantic_core import PydanticUndefined

from cosmo_assets.decontamination.benchmarks import LONG
from cosmo_assets.prompts.templates import load_templates
from cosmo_assets.recipe.decontamination import Part, known_benchmarks
from cosmo_assets.recipe.fields import Section
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.recipe.sources import TextKind
from cosmo_assets.schemas.columns import description
from cosmo_assets.seeds.readers.registry import OPTIONS, READERS

MEANINGS: dict[str, dict[str, str]] = {
    "Recipe": {
        "name": "Name of the corpus: its folder under the data root",
        "description": "One line; it stands in the report, on the dataset card and in `cosmo doctor`",
        "buckets": "Number of buckets, the partitions of the bucketed assets",
        "sources": "Where the seed documents come from, in order: of two equal texts the earlier source keeps its own",
        "seeds": "Cleaning of the seeds",
        "real": "Real text that is mixed in beside what is generated",
        "licences": "Which licences may become prompts, and real documents",
        "topics": "Embeddings, clusters, labels, topic policy",
        "prompts": "Which seeds meet which templates",
        "generation": "Model and sampling",
        "budget": "What generation may cost",
        "quality": "Rules that a generated text must pass",
        "decontamination": "Benchmarks, and the rules",
        "deduplication": "Methods, one after the other, and which one of several duplicates is kept",
        "signals": "Families of signals that are computed of every text ([Signals](signals.md)). Annotations: they "
        "remove none",
        "perplexity": "The language model of the signals `perplexity`",
        "educational": "The labels by which the signals `educational` are learned",
        "neural": "The transformers of the signals `neural`, which need it; null: none",
        "age": "The year that the report holds the signals `age` against, which it needs; null: none",
        "selection": "Which texts may stand in the corpus by their signals",
        "sweep": "What filtering by signals would cost ([Filtering](filtering.md#what-it-costs)); null: not asked",
        "mixture": "Shares of the sources in the corpus",
        "diversity": "The gate on diversity before the shards ([Diversity](diversity.md)); null: none",
        "tokenization": "Tokenizer and shard size",
        "proof": "Small models trained on parts of the corpus ([Proxies](proxy.md)); null: none",
        "limits": "Bounds of the checks",
        "folder": "Set when the recipe is read, not written in it: the recipe's own folder. Relative paths start there",
    },
    "Source": {
        "name": "Name of the source: lower-case letters, digits and `_`",
        "kind": "What its documents are; chooses the mix of templates",
        "reader": "Format of its files: a name from the table of readers below",
        "path": "File or glob, relative to the recipe's file; `${NAME}` is taken from the environment. "
        "`hub:owner/name@commit` names a data set of the Hugging Face hub",
        "licence": "Licence of its texts, for documents that state none themselves",
        "attribution": "Whom to name, for documents that state nobody themselves",
        "homepage": "Link that is shown in the asset graph, the report and the dataset card",
        "options": "Options of the reader",
        "topic_filter": "Whether its seeds are dropped when the topic policy excludes their topic, or they have none",
        "max_documents": "Seeds taken from the source at most; reading ends there",
        "expected_seeds": "Seeds that it should give (units, of courses with outlines): what `cosmo plan` counts with "
        "until it was read",
    },
    "RealData": {
        "sources": "Where real documents come from; each may be a component of the mixture",
        "filters": "Their cleaning, with the fields of `seeds`",
    },
    "RealSource": {
        "name": "Name of the source, different from those of `sources`: lower-case letters, digits and `_`",
        "reader": "Format of its files: a name from the table of readers below",
        "path": "File or glob, as in `sources`",
        "licence": "Licence of its texts, for documents that state none themselves",
        "attribution": "Whom to name, for documents that state nobody themselves",
        "homepage": "Link that is shown in the asset graph, the report and the dataset card",
        "options": "Options of the reader, the name of the text's field among them",
        "max_documents": "Documents taken from the source at most; reading ends there",
        "expected_tokens": "Tokens that it should give: what `cosmo plan --mixture` counts with until it was read",
    },
    "SeedPolicy": {
        "min_chars": "Shortest text by kind of source, in characters (`real` for real text); kinds that are not named "
        "have no such bound",
        "max_chars": "Longest text, in characters",
        "languages": "Languages that are kept (ISO 639-1), as detected",
        "mask_personal_data": "Whether e-mail addresses, telephone numbers and public IP addresses are replaced by "
        "reserved ones",
        "boilerplate_share": "A text with a larger share of lines that look like navigation or notices is dropped",
        "min_alphabetic_words": "Least share of words with a letter (texts of 200 characters and more); `0`: off",
        "word_chars": "Least and greatest mean length of a word, in characters (likewise)",
        "max_compression": "How many times a text may be compressed by zlib: more is repetition (likewise)",
        "max_toxicity": "Largest toxicity score (texts of 100 characters or more); `1` switches off",
        "near_duplicate_threshold": "Jaccard similarity of word 5-grams above which only the first of two seeds is "
        "kept; `null` switches off",
    },
    "LicencePolicy": {
        "deny": "Licences that are not allowed: shell globs over SPDX identifiers and `LicenseRef-*`, case-insensitive",
        "allow": "Licences that are allowed, in the same form; `deny` goes before",
        "unlisted": "What becomes of a licence that no pattern names; one that is not stated is never allowed",
    },
    "Topics": {
        "embedding": "Embedding model",
        "headings": "Subject headings and what each is about. With them the model chooses among the headings nearest "
        "to a cluster; without them it invents a topic",
        "clustering": "How clusters are found and seeds assigned to them",
        "labelling": "How the model is asked for a cluster's topic",
        "policy": "Which topics may become prompts",
        "map": "The map of the seeds",
        "tree": "Topic-first mode: a tree of topics; none means that topics are those of the clusters",
    },
    "TopicMap": {
        "points": "Seeds that are laid out at most, and shown at most; the others are placed among these",
        "seed": "Another number draws other seeds",
    },
    "Clustering": {
        "clusters": "Clusters",
        "method": "`graph`: neighbours grouped and merged (Ward); `kmeans`: spherical k-means; `hdbscan`: by density",
        "sample": "Seeds that the model is fitted on, drawn by their ids; all seeds are assigned by it",
        "dimensions": "Principal components that are clustered",
        "lexical": "Weight of the words of a text beside its meaning; `0` leaves them out",
        "outliers": "Share of the fitted seeds farthest from their clusters: any seed as far is an outlier",
        "seed": "Seed of the fit",
    },
    "Labelling": {
        "form": "`chat`: an instruction, answered with JSON of topic, reason and score. `text`: a catalogue that the "
        "model continues with a topic and a kind of text, each kind with its score; for models too small for the first",
        "central_extracts": "Seeds nearest to the centroid that may be shown for a cluster; the first vote is theirs",
        "random_extracts": "Seeds that may be shown beside them, drawn from the rest of the cluster by their ids; the "
        "second vote is theirs",
        "extract_chars": "Characters shown of each",
        "question_tokens": "Longest question, in tokens of the recipe's tokenizer: extracts without room are left out",
        "votes": "Answers about a cluster at most: two, and further ones where they differ until most agree",
        "score_tolerance": "Difference of two scores up to which the votes agree",
        "topic_similarity": "Cosine similarity from which two invented topics count as the same",
        "attempts": "Requests for a vote until an answer can be read",
        "max_tokens": "Longest answer",
        "shortlist": "How many of the nearest headings the model chooses from",
    },
    "TopicPolicy": {
        "min_score": "Lowest educational score that is kept (1 to 10, as the model answers)",
        "deny": "Regular expressions, case-insensitive, searched in the topic",
        "allow": "The same; where there are any, a topic that matches none of them is excluded",
        "deny_headings": "Headings: a cluster whose nearest heading is one of them is excluded",
        "overrides": "Decisions by topic, whatever its case; they go before the rules above",
        "overrides_file": "File of reviewed decisions: a YAML list of `{topic, decision, by, why}`, relative to the "
        "recipe's file. Who and why are for readers: changing them re-runs nothing",
        "unlabelled": "What becomes of clusters without a usable answer",
    },
    "TopicTree": {
        "path": "The tree: `general`, which is shipped, or a `.yaml` or `.csv` file, relative to the recipe's file",
        "subtopics": "Subtopics wanted for each subcategory: the model is asked for those that the file does not name; "
        "0 asks nothing, and a subcategory without subtopics is a topic itself",
        "attempts": "Requests for a subcategory until it has as many",
        "max_tokens": "Longest answer",
        "pages_per_topic": "Seeds that a topic gets at most",
        "boost": "Weight of the subtopic's words in a search; those of category and subcategory weigh 1",
        "min_score": "Lowest BM25 score of a seed in a topic's search; scores grow with the number and the rarity of "
        "the words found",
        "top_up": "Whether a topic with fewer seeds takes others that hold words of its category and subcategory only, "
        "as Cosmopedia v2 did",
    },
    "Outlines": {
        "form": "`chat`: an instruction, answered with JSON. `text`: a list that the model continues, for models too "
        "small for the first",
        "min_units": "Fewest units of an outline; a course with fewer gets prompts from its description",
        "max_units": "Most units of an outline",
        "attempts": "Requests for a course until there are enough units",
        "max_tokens": "Longest answer",
        "description_chars": "Characters of a course's description that are shown",
    },
    "Prompts": {
        "mixes": "The mixes by name; one that is named like a kind of source has the seeds of that kind",
        "scale": "Every target of a mix is multiplied by it: the same corpus, smaller",
        "shares": "Shares of the prompts by source, audience and format; what is not named takes the rest",
        "caps": "Largest shares of the prompts by source, audience, format and topic",
        "topic_balance": "A topic with n seeds gets prompts in proportion to n to this power: at 1 all seeds are used "
        "alike, at 0 all topics are",
        "outlines": "Course outlines: a section switches them on, `{}` with its defaults",
        "topic_clause": "Chance that a prompt names its topic",
        "extract_tokens": "Longest part of a seed in any prompt, in tokens of the recipe's tokenizer; templates have "
        "bounds of their own",
        "words": "Longest text that any template asks for, in words; the same",
        "near_duplicate_threshold": "Jaccard similarity of word 5-grams above which one of two prompts of a template "
        "is dropped; what they take from their seeds is compared",
        "template_folders": "Folders with further templates, relative to the recipe's file; a template there replaces "
        "a shipped one of the same id",
    },
    "PromptMix": {
        "kind": "Kind of source whose seeds it has; a mix that is named like a kind need not say it",
        "prompts": "How many prompts it shall have: `per_seed` of its templates are then relative to one another",
        "templates": "Its templates; a seed meets each at most once",
    },
    "TemplateUse": {
        "template": "Id of the template",
        "per_seed": "Prompts per seed. What is added to a mix changes nothing about the other templates in it",
        "sources": "The sources whose seeds meet it; none named: all of the mix's kind",
        "min_score": "Lowest educational score of the topic of a seed that meets it",
        "max_score": "Scores from here on do not meet it",
    },
    "Shares": {
        "source": "By source",
        "audience": "By audience of the template",
        "format": "By format of the template",
    },
    "Caps": {
        "source": "By source",
        "audience": "By audience of the template",
        "format": "By format of the template",
        "topic": "Of any one topic, in each mix",
    },
    "Generation": {
        "model": "The generator",
        "sampling": "Sampling parameters, sent with every request",
        "rollout": "How one document comes about: one request, or several",
        "samples": "Documents per prompt",
        "max_tokens": "Longest answer; a template may set a lower bound",
        "shard_rows": "Documents in a shard of the ledger, the unit that workers claim",
    },
    "RolloutUse": {
        "name": "`single`, `continued`, `revised`, or `module:function` of one's own (see [Generation](generation.md))",
        "options": "What the rollout is given; part of every document's id, as the name is, unless that is `single`",
    },
    "Model": {
        "name": "Name of the model as the server knows it; sent with every request",
        "revision": "Revision: a label that tells versions of the model apart. Part of every document's id, not sent",
        "licence": "Licence of the model",
        "homepage": "Link that is shown in the asset graph, the report and the dataset card",
    },
    "Sampling": {
        "temperature": "Temperature; here as below, `null` leaves the parameter to the server, which takes the model's",
        "top_p": "Nucleus sampling",
        "top_k": "Top-k sampling",
        "repetition_penalty": "Repetition penalty",
    },
    "Budget": {
        "gpu_hours": "Device hours that generation may take (`prompt_table: within_budget`)",
        "cost": "What it may cost (`prompt_table: within_budget`)",
        "gpu_hour_price": "Price of a device hour, in the currency of `cost`",
        "gpu_watts": "What one device draws, where it does not say so itself; for the estimate of energy",
        "tokens_per_second": "Output tokens of one device; null takes the shipped table's figure for the model",
    },
    "QualityPolicy": {
        "min_words": "Fewest words",
        "max_repetition": "Largest share of word 5-grams that stood in the text before",
        "drop_truncated": "Whether texts that were cut at the token limit are dropped",
        "languages": "Languages that are kept (ISO 639-1), as detected",
        "max_seed_overlap": "Largest share of the text's word 5-grams that stand in its prompt",
    },
    "Decontamination": {
        "benchmarks": "The benchmarks to keep out",
        "rules": "The rules by which a text that holds an item is found, each at most once: `cosmopedia`, `coverage`, "
        "`ngram`, `label`, `short`; one is enough to condemn a document",
        "seeds": "What becomes of a document whose seed holds an item that stands neither in its prompt nor in its "
        "text: `mark` keeps it and says so in its row, `drop` removes it",
    },
    "CosmopediaRule": {
        "rule": "A shared n-gram makes a candidate, the matched share of the item condemns",
        "ngram": "Words in a row that make an item a candidate",
        "ratio": "Matched share of the item's characters above which the document is dropped",
    },
    "NgramRule": {
        "rule": "Any shared n-gram condemns",
        "ngram": "Words in a row",
    },
    "LabelRule": {
        "rule": "Any shared n-gram that reaches into the item's answer condemns",
        "ngram": "Words in a row",
    },
    "CoverageRule": {
        "rule": "Shared n-grams that hold enough of the item's words condemn",
        "ngram": "Words in a row",
        "share": "Share of the item's words from which on the document is dropped",
    },
    "ShortRule": {
        "rule": "An item that stands in the text as a whole condemns, where it is too short for n-grams",
        "below": "Words that such an item has at most, and one more",
    },
    "Benchmark": {
        "name": "Name of the benchmark: lower-case letters, digits and `_`. One of the "
        "[registry](decontamination.md#benchmarks) needs no more than its path",
        "path": "File or glob, relative to the recipe's file: JSON Lines (plain or compressed) or Parquet. "
        "`hub:owner/name@commit` names a data set of the Hugging Face hub",
        "licence": "Licence of the benchmark's data; that of the registry where it is known there",
        "homepage": "Link that is shown in the asset graph, the report and the dataset card",
        "parts": "[Texts of an item](decontamination.md#what-is-searched-for) that are searched for; those of the "
        "registry by default, else question and answer",
        "fields": "Layouts of the rows, one section or several: a row is read in the first of which it has all fields; "
        "those of the registry by default",
        "config": "Configuration of a data set of the hub; none: its own choice",
        "split": "Split of a data set of the hub",
    },
    "BenchmarkFields": {
        "id": "Field with the item's id; `null`, or where rows have none: the row's number",
        "context": "Field with what stands before the question; rows may lack `context`",
        "question": "Field with the question, or several whose texts follow each other. As everywhere here, a dotted "
        "name reaches inside a field",
        "choices": "Field with the choices: a list, or an object with the lists `text` and `label`; or a list of "
        "fields, one for each choice. Rows may lack `choices`",
        "answer": "Field with the right answer; `null`: there is none",
        "answer_as": "What it holds: the answer itself (of a list of names the first; of choices in words, a whole "
        "number is an index), its index from 0, its number from 1, or its label, a letter where choices have none",
    },
    "Deduplication": {
        "methods": "Methods in the order in which they are applied: `exact`, `minhash`, `passages`, `semantic`",
        "survivor": "What decides which one of several duplicates is kept, in order; at last the smallest id",
        "against": "Corpora under the same data root whose documents are kept, and not repeated in this one",
    },
    "Selection": {
        "sets": "Published sets of bounds, in order; they need the signals `statistics`",
        "bounds": "Bounds of single signals, after those of the sets",
        "keep": "A rule over all texts within the bounds: `ranks`, `pareto`, `gumbel`, `d4`, `d2` or `dsir`; null: all "
        "of them",
    },
    "KeepRanks": {
        "rule": "Texts of a range of ranks",
        "signal": "By which they are ranked, as in bounds; a text without it stays",
        "low": "Where the range begins, as a share of all",
        "high": "Where it ends",
    },
    "KeepD4": {
        "rule": "Texts that are unlike others, by their embeddings: duplicates go, then prototypes; real text stays",
        "clusters": "Within how many clusters texts are compared; null: the square root of their number",
        "keep_different": "Of all texts, how many stay: those least like another of their cluster",
        "keep_atypical": "Of these, clustered anew, how many stay: those farthest from their centroid. The product of "
        "both is the share of all that stays",
        "seed": "Seed of k-means",
    },
    "KeepD2": {
        "rule": "A fraction of the texts: difficult ones from everywhere, by their embeddings; real text stays",
        "signal": "How difficult a text is, by its rank; one without the signal stays",
        "prefer": "Whether texts are difficult where the signal is `high` or `low`",
        "fraction": "Of the texts, how many stay",
        "neighbours": "Nearest texts to which a text adds its difficulty, and takes from once it is chosen",
        "gamma": "How fast the latter falls with distance: near 0 it takes from all of them alike, far above 1 only "
        "from those that are nearly the same",
    },
    "KeepDsir": {
        "rule": "Texts that look like targets, real ones included, so many for each "
        "([Composition](composition.md#documents-that-look-like-a-target))",
        "targets": "What is looked for, by name; targets are served in this order, and no text is chosen twice",
        "least_words": "Texts of fewer words do not stay",
        "smoothing": "What is added to the count of each n-gram's bucket in a target",
        "seed": "Seed of the draw",
    },
    "DsirTarget": {
        "path": "JSON Lines, plain or compressed, each with a `text`; may be a glob, starts at the recipe's file",
        "documents": "How many texts are chosen for this target; either this or `fraction`",
        "fraction": "The same, as a share of all texts within the bounds",
    },
    "KeepPareto": {
        "rule": "Texts drawn with the chance (2 - signal)^-alpha",
        "signal": "One between 0 and 1",
        "prefer": "Whether the chance is higher where the signal is `high` or `low`",
        "alpha": "How steeply it rises",
    },
    "KeepGumbel": {
        "rule": "A fraction of the texts, drawn with chances by exp(standardized signal / temperature)",
        "signal": "By which they are drawn",
        "prefer": "Whether the chance is higher where the signal is `high` or `low`",
        "fraction": "Of the texts, how many stay",
        "temperature": "Near 0 the best stay, far above 1 anyone",
    },
    "SignalBound": {
        "signal": "`family.column`: one of `signals` and a column of numbers of `text_FAMILY`, or `quality.` and one "
        "of `generation_quality`",
        "low": "Least value that stays; a text without the signal stays",
        "high": "Greatest value that stays",
    },
    "Sweep": {
        "signals": "By which of them filtering is tried out, each alone; nothing is filtered",
        "fractions": "How many of the texts with the signal are kept, one trial for each",
        "domains": "What shares are of: `topic`, or `source`; a text without a topic counts by its source",
        "sample": "Texts whose Vendi score is taken in each trial, at most",
        "block": "Texts in a block, at which it is taken; no more than `sample`",
    },
    "SweptSignal": {
        "signal": "`family.column`, as in `selection.bounds[]`",
        "prefer": "Whether texts are kept where it is `high` or `low`",
    },
    "Perplexity": {
        "words": "Words of reference text that it is fitted on, about: a sample of the real text, or of the seeds",
        "order": "Words of its longest n-grams",
    },
    "Age": {
        "evaluated": "The year of what models are tested on",
        "older": "Years: the share of the texts that are older is shown",
        "half_life": "Years after which a text weighs half",
    },
    "Neural": {
        "models": "Folders of causal language models as transformers saves them, each with its tokenizer.json, "
        "relative to the recipe's file: checkpoints, all of one tokenizer. EL2N is the mean over them, the last one "
        "gives the rest",
        "tokens": "Tokens of each text that are scored, at most; no more than the models' context",
    },
    "Educational": {
        "labels": "Texts that the model is asked about: a sample of the seeds and of the real text",
        "extract_chars": "So many characters of a text are judged, by the model and by the classifier",
        "features": "What the classifier reads of them: words and pairs of words, or their sentence embedding "
        "([Signals](signals.md#educational-value))",
        "attempts": "How often it is asked about a text until its answer can be read",
        "max_tokens": "Longest answer, in tokens",
        "min_correlation": "Spearman correlation of held-out scores with the labels at least "
        "(`quality_classifier: agrees`)",
    },
    "Diversity": {
        "sample": "Documents that are measured, at most: one of each seed",
        "block": "Documents in a block, at which measures are taken that depend on their number",
        "rate": "How often a corpus of the same kind is stopped for nothing, at most",
        "accepted": "Versions of `corpus_diversity` that pass whatever they are compared with",
        "coefficient": "The diversity coefficient as a further measure; null: none",
    },
    "Coefficient": {
        "model": "The probe: folder of a language model as transformers saves it, with its tokenizer.json; relative to "
        "the recipe's file",
        "tokens": "Tokens of each document that are measured, at most",
    },
    "Proof": {
        "items": "Questions, JSON Lines with `question`, `choices` and `answer` (the right choice, from 0); the path "
        "is relative to the recipe's file",
        "held_out": "Shards that the corpus does not have, by the name of their domain: a corpus, a folder or a "
        "`.ds` file",
        "by": "What parts the corpus: `source`, `template`, `topic` or `filters`",
        "filters": "With `by: filters`: bounds on signals; what each one drops is a part, and has an arm",
        "arms": "Whether an arm is the corpus `without` a part, or that part alone (`only`)",
        "largest": "Parts that have an arm, the largest first; of filters, all have",
        "seeds": "Trainings of each arm",
        "proxy": "Size and training of the models",
    },
    "Proxy": {
        "d_model": "Width; a multiple of twice `heads`",
        "layers": "Layers",
        "heads": "Heads of attention",
        "sequence": "Tokens of a sequence, and of the longest context",
        "batch": "Sequences of a step",
        "steps": "Steps of a training",
        "rate": "The largest learning rate",
        "warm_up": "Share of the steps in which the rate rises",
        "weight_decay": "Of matrices",
        "clip": "Largest norm of the gradient",
    },
    "ExactMethod": {"method": "The same words in the same order"},
    "MinHashMethod": {
        "method": "Similar sets of word n-grams",
        "ngram": "Words in a shingle",
        "bands": "Bands of a signature",
        "rows": "Hashes in a band: two texts of similarity s share a band with probability 1 - (1 - s^rows)^bands",
        "seed": "Seed of the hash functions",
    },
    "PassagesMethod": {
        "method": "Much of the text stands in better ones",
        "words": "Words in a passage",
        "share": "Share of the passages from which on the document is dropped",
    },
    "SemanticMethod": {
        "method": "Nearly the same embedding",
        "similarity": "Cosine similarity from which on the document is dropped",
        "cell": "Documents that are compared with one another, about; more of them are divided by k-means first",
        "seed": "Seed of k-means",
    },
    "Mixture": {
        "components": "The sources in the corpus; a source that is not named is left out",
        "temperature": "Without weights a source weighs what it can give (`max_tokens` at most) to the power of "
        "1/temperature: 1 is in proportion, higher is more even",
        "tokens": "Size of the corpus in tokens; null: as large as the bounds of the sources allow. More "
        "than that is an error",
        "fill": "Whether a source that has run out stops there and the others go on in their ratio, until `tokens` are "
        "reached",
        "factors": "How many copies some documents have for each that others of their source have",
        "stages": "Parts of the training with weights of their own, in order (a curriculum)",
        "optimum": "What `cosmo weights --json` has written: the mixture is shown beside it (`mixture: near_optimum`), "
        "and not changed",
        "reallocate_withdrawn": "Whether the place of what was withdrawn goes to other documents; else these stay as "
        "they are",
    },
    "Component": {
        "weight": "Share of the tokens, relative to the other sources; all sources have one, or none has",
        "max_epochs": "How often its documents may be repeated, on average; the source that runs out first sets the "
        "size of the corpus",
        "max_tokens": "Tokens that it gives at most; a source that reaches them stays there, the others go on in their "
        "ratio",
    },
    "Factors": {
        "topic": "By topic. Factors multiply; 0 leaves documents out, and max_epochs is that of factor 1",
        "audience": "By audience",
        "format": "By format",
        "quality": "By ranges of the figures of `generation_quality`",
    },
    "QualityBand": {
        "column": "Which figure: words, share of repetition, overlap with the seed",
        "low": "From here on, inclusive",
        "high": "Up to here, exclusive",
        "factor": "The factor of documents in the range",
    },
    "MixtureStage": {
        "name": "Name of the stage",
        "share": "Share of the corpus, relative to the other stages",
        "weights": "Weights by source; a source that is not named is not in it. None named: those of the components",
    },
    "Tokenization": {
        "tokenizer": "`smollm2-135m-instruct`, the path of a `tokenizer.json`, relative to the recipe's file, or "
        "`hub:owner/name@commit`, the one of a model of the Hugging Face hub",
        "eos": "The end-of-text token, written after every document",
        "shard_tokens": "Tokens of a shard at most, on average: shards are as many as the least power of two for that",
        "shards": "The number of shards itself, up to 65,536: then it stays the same however the corpus grows",
    },
    "Limits": {
        "max_failed": "Share of requests without an answer (`generations: answered`)",
        "max_truncated": "Share of answers cut at the token limit (`generations: truncated`)",
        "max_empty": "Share of answers without a word (`generations: empty`)",
        "max_refusals": "Share of answers in which the model says that it will not (`generations: refusal`)",
        "max_repetitive": "Share of answers that repeat themselves (`generations: repetitive`)",
        "max_low_quality": "Share of texts that break a quality rule (`generation_quality: low_quality`)",
        "max_contaminated": "Share of contaminated documents at most (`decontaminated: removed_at_most`)",
        "min_contaminated": "Share of contaminated documents at least (`decontaminated: removed_at_least`); `null`: "
        "one at all, once a bucket, or the corpus (`corpus_report: any_contaminated`), has 250,000 documents. `0`: "
        "none is expected, and `decontaminated: still_found` holds as well",
        "max_contaminated_seeds": "Share of contaminated seeds at most (`contaminated_seeds: found_at_most`)",
        "min_contaminated_seeds": "Share of contaminated seeds at least (`contaminated_seeds: found_at_least`); "
        "`null`: one at all, once there are 20,000 seeds",
        "max_duplicates": "Share of duplicates (`deduplicated: duplicates`)",
        "max_copies": "Copies of one document in the corpus (`mixture: multiplicity`); times the epochs of the "
        "training, this is how often it is seen",
        "max_identity_disparity": "How many times as often as others harmless texts about a group of people may be "
        "removed for toxicity, at the lower end of a 95 % interval (`identity_disparity` of `seed_documents`, "
        "`real_documents` and `selection`)",
        "max_unselected": "Share of documents that the selection leaves out (`selection: unselected`)",
        "max_bad_seed_rows": "Share of source rows that could not be read (`seed_documents: bad_rows`)",
        "max_near_duplicate_prompts": "Share of prompts that were near-duplicates, over all and of any template "
        "(`prompt_table: near_duplicates`)",
        "max_unexpanded": "Share of subcategories for which the model named no subtopic (`topic_tree: expanded`)",
        "min_full_topics": "Share of topics that found as many seeds as `topics.tree.pages_per_topic` wants "
        "(`topic_seeds: full_topics`)",
        "min_seeds_used": "Share of seeds that belong to a topic of the tree (`topic_seeds: seeds_used`)",
        "max_excluded": "Share of seeds that the topic policy excludes, those without a topic of the tree not counted "
        "(`seed_topics: excluded`)",
        "min_outlined": "Share of courses with an outline at least (`course_outlines: outlined`)",
        "min_label_agreement": "Share of labelled clusters whose votes all agreed (`topic_labels: agreed`)",
        "max_opener_share": "Share of texts that begin with the same five words (`generation_quality: openers`)",
        "max_topic_drift": "Distance between the topic shares of a version and of the one before "
        "(`seed_topics: topic_drift`, `token_lineage: topic_drift`)",
        "max_truncation_drift": "Change of the share of answers that are cut off (`generations: truncation_drift`)",
        "max_opener_drift": "Rise of the share of texts that begin with the same five words "
        "(`generation_quality: opener_drift`)",
        "max_contamination_drift": "Change of the share of contaminated documents "
        "(`decontaminated: contamination_drift`)",
        "max_duplicate_drift": "Change of the share of duplicates (`duplicate_clusters: duplicate_drift`)",
    },
}
MEANINGS["RealFilters"] = MEANINGS["SeedPolicy"]
"""What a field is for, by model and field."""

READS = {
    "jsonl": "JSON Lines, or one JSON array of objects; one row, one document",
    "csv": "CSV with a header; one row, one document",
    "parquet": "Parquet; one row, one document",
    "ultrachat": "UltraChat: the first user turn of a conversation",
    "openhermes": "OpenHermes-2.5: the first human turn and its answer",
    "openstax": "OpenStax books: one document per module; `path` names `META-INF/books.xml`, or an archive of a book",
    "explorecourses": "Stanford ExploreCourses XML: one document per course",
    "course_jsonl": "JSON Lines of courses",
    "topic_tree": "JSON tree with `title`, `slug`, `description`, `children`: one document per leaf; or JSON Lines of "
    "nodes with `path`, `title` and `href`",
    "title_list": "Text file, one title a line",
    "mediawiki": "MediaWiki XML dump: one document per article",
    "html": "HTML files: one document per page, its main content (trafilatura); the licence that the page states",
    "warc": "Web archives (WARC, plain or gzip): one document per HTML page or converted text; licence as `html`",
    "hf_dataset": "Hugging Face data sets: a folder of `save_to_disk`, files of a snapshot, or `hub:owner/name@commit`",
    "automathtext": "AutoMathText: JSON Lines with scores, by `min_score` and `domains`",
    "plain_text": "Running text, cut into documents at blank lines (`separator: blank_line`) or by size (`none`)",
}
"""What a reader reads, by its name."""


def readers() -> str:
    """The table of readers.

    Raises:
        KeyError: a reader is not described, or a description has no reader.
    """
    if READS.keys() != READERS.keys():
        raise KeyError(f"readers: {sorted(READS.keys() ^ READERS.keys())}")
    rows = []
    for name, text in READS.items():
        options = ", ".join(f"`{option}` (`{_written(value)}`)" for option, value in OPTIONS[name].items())
        rows.append(f"| `{name}` | {text} | {options or 'none'} |")
    return "\n".join(["| reader | reads | options (default) |", "| --- | --- | --- |", *rows]) + "\n"


def templates() -> str:
    """The table of shipped templates, by kind of source."""
    found = sorted(load_templates([]).values(), key=lambda template: (template.kinds, template.id))
    rows = [
        f"| {', '.join(item.kinds)} | `{item.id}` | {item.audience} | {item.format} | "
        f"{item.extract_tokens}{' each' if item.segments else ''} | {item.words} | {item.max_tokens} |"
        for item in found
    ]
    head = [
        "| kind of source | template | audience | format | extract, tokens | words asked for | tokens at most |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n"


def benchmarks() -> str:
    """The table of the registry: what is known of a benchmark by its name."""
    rows = [
        f"| `{name}` | {known['licence']} | {', '.join(f'`{part}`' for part in known['parts'])} | "
        f"{' '.join(filter(None, [known.get('config'), known.get('split', 'test')]))} |"
        for name, known in known_benchmarks().items()
    ]
    head = [
        "| name | licence | what is searched for | configuration and split on the hub |",
        "| --- | --- | --- | --- |",
    ]
    return "\n".join([*head, *rows]) + "\n"


def columns(schema: pa.Schema, without: Collection[str] = ()) -> str:
    """The columns of a table of the pipeline."""
    head = ["| column | type | meaning |", "| --- | --- | --- |"]
    rows = [
        f"| `{field.name}` | {field.type}{', or null' if field.nullable else ''} | {description(field)} |"
        for field in schema
        if field.name not in without
    ]
    return "\n".join([*head, *rows]) + "\n"


PARTS: dict[Part, str] = {
    "question_answer": "context, question, right answer",
    "question": "the question alone",
    "long_question": f"the question alone, where it has {LONG} words or more: many shorter ones stand everywhere",
    "answer": "the right answer alone; `short` passes over it, so it is found by n-grams or listed",
    "context": "the context alone",
    "choices": "context, question, all choices",
    "lettered": "the same with A, B, C before the choices",
    "marked": 'context, question, "Answer:", right answer',
    "q_a": 'context, question, "A:", right answer',
    "filled": "the question with the right answer in place of its blank (`_`), or followed by it; nothing where there "
    "are several blanks",
}


def parts() -> str:
    """The table of an item's texts.

    Raises:
        KeyError: a part is not described, or a description has no part.
    """
    if PARTS.keys() != set(get_args(Part)):
        raise KeyError(f"parts: {sorted(PARTS.keys() ^ set(get_args(Part)))}")
    rows = [f"| `{name}` | {text} |" for name, text in PARTS.items()]
    return "\n".join(["| part | text |", "| --- | --- |", *rows]) + "\n"


def reference() -> str:
    """The tables of fields, each under the path that they have in a recipe.

    Raises:
        KeyError: a field has no meaning, or a meaning no field.
    """
    parts = []
    for path, model in sections(Recipe, ""):
        meanings = MEANINGS[model.__name__]
        if unknown := set(meanings) - set(model.model_fields):
            raise KeyError(f"{model.__name__}: no such field: {sorted(unknown)}")
        rows = [
            f"| `{name}` | {_kind(field)} | {_default(field)} | {_cell(meanings[name])} |"
            for name, field in model.model_fields.items()
        ]
        heading = f"### `{path}`{_which(model)}" if path else "### The recipe"
        parts.append(
            "\n".join([heading, "", "| field | type | default | meaning |", "| --- | --- | --- | --- |", *rows])
        )
    return "\n\n".join(parts) + "\n"


def _which(model: type[Section]) -> str:
    """Of sections that stand in one place, by which field one is told from the others."""
    chosen = [
        f", `{name}: {get_args(field.annotation)[0]}`" for name, field in model.model_fields.items() if _is_tag(field)
    ]
    return "".join(chosen)


def _is_tag(field: pydantic.fields.FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def sections(model: type[Section], path: str) -> Iterator[tuple[str, type[Section]]]:
    """A model and all models inside it, in the order of their fields, each with its path in a recipe."""
    yield path, model
    for name, field in model.model_fields.items():
        for inner, suffix in _models(field.annotation):
            yield from sections(inner, f"{path}.{name}{suffix}".lstrip("."))


def _models(annotation: Any) -> Iterator[tuple[type[Section], str]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation, ""
        return
    suffix = {tuple: "[]", dict: ".<key>"}.get(get_origin(annotation), "")
    for argument in get_args(annotation):
        for model, inner in _models(argument):
            yield model, suffix + inner


def _kind(field: pydantic.fields.FieldInfo) -> str:
    return _cell(_type(field.annotation, field.metadata))


def _type(annotation: Any, metadata: list[Any]) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type(arguments[0], [item for extra in arguments[1:] for item in _flat(extra)])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        if all(isinstance(argument, type) and issubclass(argument, Section) for argument in arguments):
            return "section"
        return " or ".join("`null`" if argument is type(None) else _type(argument, metadata) for argument in arguments)
    if origin is tuple:
        inner = _type(arguments[0], [])
        return f"list of {inner}" if inner.endswith("`") else f"list of {inner}s"
    if origin is dict:
        key = "kind of source" if arguments[0] in (TextKind, *get_args(TextKind)) else _type(arguments[0], [])
        return f"mapping of {key} to {_type(arguments[1], [])}"
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "section"
    names = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", Any: "any value"}
    return " ".join(
        [names.get(annotation, getattr(annotation, "__name__", str(annotation)).lower()), *_bounds(metadata)]
    )


def _bounds(metadata: list[Any]) -> Iterator[str]:
    least = next((item.ge for item in metadata if isinstance(item, annotated_types.Ge)), None)
    most = next((item.le for item in metadata if isinstance(item, annotated_types.Le)), None)
    above = next((item.gt for item in metadata if isinstance(item, annotated_types.Gt)), None)
    if least is not None:
        yield f"≥ {least:g}" if most is None else f"from {least:g} to {most:g}"
    if above is not None:
        yield f"> {above:g}"


def _flat(extra: Any) -> list[Any]:
    return list(extra.metadata) if isinstance(extra, pydantic.fields.FieldInfo) else [extra]


def _default(field: pydantic.fields.FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, Section):
        return "its defaults"
    if isinstance(value, tuple) and any(isinstance(item, Section) for item in value):
        tags = [getattr(item, name) for item in value for name, tag in type(item).model_fields.items() if _is_tag(tag)]
        return ", ".join(f"`{tag}`" for tag in tags) + " with their defaults" if tags else "one with its defaults"
    if isinstance(value, tuple):
        return _cell(", ".join(f"`{item}`" for item in value) or "none")
    if isinstance(value, dict):
        return _cell(", ".join(f"`{key}: {item}`" for key, item in value.items()) or "none")
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if "|" in str(value):  # it would end the cell; in backticks, not every renderer takes a backslash before it
        return f"<code>{html.escape(str(value)).replace('|', '&#124;')}</code>"
    return f"`{value}`"


def _written(value: Any) -> str:
    return "null" if value is None else str(value) or '""'


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
