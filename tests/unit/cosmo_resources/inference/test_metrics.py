"""What engines say of themselves at /metrics, in one vocabulary."""

import pytest
from aiohttp import web

from cosmo_resources.inference.metrics import figures, scrape
from tests.doubles.replay_server import replaying

VLLM = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3.0
vllm:num_requests_running{engine="1",model_name="m"} 2.0
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="m"} 7.0
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{engine="0",model_name="m"} 200.0
# TYPE vllm:prefix_cache_hits_total counter
vllm:prefix_cache_hits_total{engine="0",model_name="m"} 50.0
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="m"} 1234.0
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.25
# TYPE process_open_fds gauge
process_open_fds 12.0
"""

LLAMA = """# TYPE llamacpp:requests_processing gauge
llamacpp:requests_processing 1
# TYPE llamacpp:tokens_predicted_total counter
llamacpp:tokens_predicted_total 77
"""


def test_vllm() -> None:
    assert figures(VLLM) == {
        "running": 5.0,
        "waiting": 7.0,
        "prefix_queries": 200.0,
        "prefix_hits": 50.0,
        "completion_tokens": 1234.0,
        "cache_usage": 0.25,
    }


def test_llama_cpp() -> None:
    assert figures(LLAMA) == {"running": 1.0, "completion_tokens": 77.0}


def test_a_server_that_is_there() -> None:
    with replaying() as server:
        assert scrape(server.url) == {"running": 0.0, "waiting": 0.0}


def test_a_server_without_metrics_says_nothing() -> None:
    async def missing(request: web.Request) -> web.Response:
        return web.Response(status=404)

    with replaying(routes={"/metrics": missing}) as server:
        assert scrape(server.url) == {}
    assert scrape("http://127.0.0.1:9/v1") == {}


@pytest.mark.parametrize("page", ["<html>no", "vllm:num_requests_running{ 3"])
def test_a_page_that_is_none_says_nothing(page: str) -> None:
    async def metrics(request: web.Request) -> web.Response:
        return web.Response(text=page)

    with replaying(routes={"/metrics": metrics}) as server:
        assert scrape(server.url) == {}
