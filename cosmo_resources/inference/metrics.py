"""What a server says of itself at /metrics, in one vocabulary for all engines.

Belongs here: scraping, and the names that engines give to the same thing. Does not belong here: what clients measure
(`cosmo_resources.pools.meters`).
"""

from collections.abc import Mapping, Sequence

from prometheus_client.parser import text_string_to_metric_families

from cosmo_resources.inference import probes

NAMES: Mapping[str, Sequence[str]] = {
    "running": ("vllm:num_requests_running", "sglang:num_running_reqs", "llamacpp:requests_processing")
    + ("tgi_batch_current_size", "cosmo_requests_running"),
    "waiting": ("vllm:num_requests_waiting", "sglang:num_queue_reqs", "llamacpp:requests_deferred")
    + ("tgi_queue_size", "cosmo_requests_waiting"),
    "prompt_tokens": ("vllm:prompt_tokens_total", "sglang:prompt_tokens_total", "llamacpp:prompt_tokens_total")
    + ("cosmo_prompt_tokens_total",),
    "completion_tokens": ("vllm:generation_tokens_total", "sglang:generation_tokens_total")
    + ("llamacpp:tokens_predicted_total", "cosmo_generation_tokens_total"),
    "prefix_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
    "cache_usage": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc", "sglang:token_usage"),
}
"""Our name of a figure, and the engines' names of it; where one has two, the newer comes first."""

COUNTERS = frozenset({"prompt_tokens", "completion_tokens", "prefix_queries", "prefix_hits"})
"""Figures that only grow while a server lives, from its start; the others are those of the moment."""


def scrape(endpoint: str, timeout: float = 5.0) -> dict[str, float]:
    """The figures of the server of an endpoint (base URL ending in /v1) by our names, those that it knows; summed over
    its engines. Empty, where it has no /metrics or does not answer."""
    status, page = probes.ask(f"{endpoint.removesuffix('/v1')}/metrics", timeout)
    try:
        return figures(page.decode("utf-8", "replace")) if status == 200 else {}
    except ValueError:
        return {}


def figures(text: str) -> dict[str, float]:
    """The figures in a page of Prometheus text.

    Raises:
        ValueError: it is no such page.
    """
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found[sample.name] = found.get(sample.name, 0.0) + sample.value
    picked = {}
    for name, theirs in NAMES.items():
        known = next((found[one] for one in theirs if one in found), None)
        if known is not None:
            picked[name] = known
    return picked
