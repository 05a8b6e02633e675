"""The proxy: the shipped configuration in a real nginx before the two web servers of a service."""

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from tests.corpora import ROOT, Corpus, seeds, wait_until
from tests.deploy.programs import answers, filled, free_port
from tests.deploy.service import Service, installed

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(NGINX is None, reason="no nginx (Debian: nginx-light)"),
    pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on PATH"),
]

MAIN = """daemon off; {1} pid {0}/nginx.pid; error_log {0}/error.log; worker_processes 1; events {{}}
http {{
  access_log off; include {0}/cosmo.conf;
  client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
  uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
}}"""
OPERATOR, READER = aiohttp.BasicAuth("ada", "operates"), aiohttp.BasicAuth("bob", "only-reads")
VERSION = {"query": "{ version }"}
LAUNCH = {
    "query": """mutation { launchRun(executionParams: { selector: {
        repositoryLocationName: "cosmo", repositoryName: "__repository__", jobName: "no_such_job" }
        runConfigData: {} }) { __typename } }"""
}


@dataclass
class Door:
    """The proxy's address, and how to knock."""

    port: int
    service: Service

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def ask(
        self, method: str, path: str, auth: aiohttp.BasicAuth | None = None, **options: Any
    ) -> tuple[int, str, dict[str, str]]:
        """Status, body and headers of one request."""

        async def asked() -> tuple[int, str, dict[str, str]]:
            async with (
                aiohttp.ClientSession(auth=auth, connector=aiohttp.TCPConnector(ssl=False)) as session,
                session.request(method, self.url + path, allow_redirects=False, **options) as reply,
            ):
                return reply.status, await reply.text(), dict(reply.headers)

        return asyncio.run(asked())


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    corpus = Corpus(tmp_path_factory.mktemp("proxied")).write(seeds(4))
    with installed(corpus, "http://127.0.0.1:9", None) as service:
        service.start("cosmo-code", "cosmo-ui", "cosmo-view")
        folder, port = corpus.folder / "nginx", free_port()
        secrets = folder / "secrets"
        secrets.mkdir(parents=True)
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
        key = ["-newkey", "rsa:2048", "-nodes", "-days", "1", "-keyout", str(secrets / "tls.key")]
        certificate = ["openssl", "req", "-x509", *key, "-out", str(secrets / "tls.crt"), *subject]
        subprocess.run(certificate, check=True, capture_output=True)
        for name, people in (("operators", [OPERATOR]), ("readers", [READER])):
            lines = [f"{person.login}:{hashed(person.password)}\n" for person in people]
            (secrets / name).write_text("".join(lines), encoding="utf-8")
        values = {
            "COSMO_UI": f"127.0.0.1:{service.port('cosmo-ui')}",
            "COSMO_VIEW": f"127.0.0.1:{service.port('cosmo-view')}",
            "COSMO_SERVER_NAME": "localhost",
            "COSMO_HTTPS": str(port),
            "COSMO_SECRETS": str(secrets),
        }
        configuration = filled(ROOT / "deploy" / "nginx" / "cosmo.conf.template", values)
        assert "${" not in configuration
        (folder / "cosmo.conf").write_text(configuration, encoding="utf-8")
        (folder / "nginx.conf").write_text(
            MAIN.format(folder, "user root;" if os.getuid() == 0 else ""), encoding="utf-8"
        )
        nginx = [str(NGINX), "-p", str(folder), "-c", str(folder / "nginx.conf")]
        subprocess.run([*nginx, "-t"], check=True, capture_output=True)
        process = subprocess.Popen(nginx, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            wait_until(lambda: answers(port), process=process)
            yield Door(port, service)
        finally:
            process.terminate()
            process.wait(30)


def hashed(password: str) -> str:
    command = ["openssl", "passwd", "-6", "-stdin"]
    return subprocess.run(command, input=password, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("path", "auth"),
    [("/", None), ("/view/", None), ("/", READER), ("/", aiohttp.BasicAuth("ada", "guessed"))],
    ids=["nobody", "nobody below view", "a reader as operator", "a wrong password"],
)
def test_without_the_right_password_nothing_is_shown(door: Door, path: str, auth: aiohttp.BasicAuth | None) -> None:
    for method, where, options in (("GET", path, {}), ("POST", f"{path}graphql", {"json": VERSION})):
        status, body, _ = door.ask(method, where, auth, **options)
        assert status == 401
        assert "version" not in body
        assert "dagster" not in body.lower()


@pytest.mark.parametrize(("prefix", "auth"), [("", OPERATOR), ("/view", READER)], ids=["operator", "reader"])
def test_with_it_pages_and_queries_come(door: Door, prefix: str, auth: aiohttp.BasicAuth) -> None:
    status, page, headers = door.ask("GET", f"{prefix}/", auth)
    assert status == 200
    assert f'"assetPrefix":"{prefix}"' in page
    assert headers["X-Frame-Options"] == "SAMEORIGIN"
    script = next(part.split('"')[0] for part in page.split('src="')[1:] if ".js" in part.split('"')[0])
    assert script.startswith(prefix)
    assert door.ask("GET", script, auth)[0] == 200, "what the page asks for is below the same prefix"
    status, body, _ = door.ask("POST", f"{prefix}/graphql", auth, json=VERSION)
    assert (status, "1.13" in body) == (200, True)


def test_a_reader_launches_nothing(door: Door) -> None:
    _, refused, _ = door.ask("POST", "/view/graphql", READER, json=LAUNCH)
    assert '"UnauthorizedError"' in refused
    _, taken, _ = door.ask("POST", "/graphql", OPERATOR, json=LAUNCH)
    assert '"UnauthorizedError"' not in taken
    assert "launchRun" in taken, "an operator is told that there is no such job"


def test_view_is_found_without_its_slash_and_old_tls_is_refused(door: Door) -> None:
    status, _, headers = door.ask("GET", "/view", READER)
    assert (status, headers["Location"].rstrip("/").endswith("/view")) == (301, True)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(aiohttp.ClientError):
        door.ask("GET", "/", OPERATOR, ssl=old)


def test_pages_of_another_site_cannot_act(door: Door) -> None:
    for origin, expected in ((None, 200), (door.url, 200), ("https://evil.example", 403), ("null", 403)):
        headers = {"Origin": origin} if origin else {}
        assert door.ask("POST", "/graphql", OPERATOR, json=VERSION, headers=headers)[0] == expected


@pytest.mark.parametrize(("prefix", "auth"), [("", OPERATOR), ("/view", READER)], ids=["operator", "reader"])
def test_subscriptions_pass(door: Door, prefix: str, auth: aiohttp.BasicAuth) -> None:
    async def subscribed(auth: aiohttp.BasicAuth) -> str:
        async with (
            aiohttp.ClientSession(auth=auth, connector=aiohttp.TCPConnector(ssl=False)) as session,
            session.ws_connect(f"{door.url}{prefix}/graphql", protocols=["graphql-ws"]) as socket,
        ):
            assert socket.protocol == "graphql-ws"
            await socket.send_json({"type": "connection_init", "payload": {}})
            return str((await socket.receive_json(timeout=20))["type"])

    assert asyncio.run(subscribed(auth)) == "connection_ack"
    with pytest.raises(aiohttp.WSServerHandshakeError, match="401"):
        asyncio.run(subscribed(aiohttp.BasicAuth("ada", "guessed")))
