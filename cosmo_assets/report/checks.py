"""Checks of the report and the export.

Belongs here: what must hold of what people read and download. Does not belong here: writing it (`report`, `export`).
"""

from cosmo_assets.decontamination.checks import ENOUGH_DOCUMENTS, none_is_suspicious
from cosmo_assets.recipe.recipe import Recipe
from cosmo_assets.reporting import Check, Verdict
from cosmo_resources.storage.manifest import Manifest


def _one_page(manifest: Manifest, _: Recipe) -> Verdict:
    pages = [entry for entry in manifest.files if entry.name == "report.html"]
    return len(pages) == 1 and pages[0].bytes > 0, {"report bytes": sum(page.bytes for page in pages)}


def _all_documents(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.flow.rows_out == manifest.flow.rows_in, {
        "documents of the mixture": manifest.flow.rows_in,
        "documents exported": manifest.flow.rows_out,
    }


def _some_removed(manifest: Manifest, recipe: Recipe) -> Verdict:
    removed, searched = manifest.summary["contaminated"], manifest.summary["searched"]
    suspicious = none_is_suspicious(removed, searched, ENOUGH_DOCUMENTS, recipe)
    expected = recipe.limits.min_contaminated
    return not suspicious or expected == 0, {"documents searched": searched, "contaminated": removed}


REPORT_CHECKS = (
    Check("one_page", "The report is one file that stands by itself.", _one_page),
    Check(
        "any_contaminated",
        "Of very many documents in all buckets together at least one was contaminated.",
        _some_removed,
    ),
)
EXPORT_CHECKS = (Check("all_documents", "Every document of the mixture is exported once.", _all_documents),)


def _all_files(manifest: Manifest, _: Recipe) -> Verdict:
    return manifest.flow.rows_in == manifest.flow.rows_out == manifest.rows, {
        "files": manifest.rows,
        "commit": manifest.summary["commit"],
    }


PUSH_CHECKS = (Check("all_files", "Every file of the export is in the commit.", _all_files),)
