"""The real source against a real TLS server on this machine."""

import http.server
import shutil
import ssl
import subprocess
import threading
import time

import pytest
from observing import indexes, one_line, request
from strands_diffusers_https import HttpsSource

from strands_diffusers.errors import ConfigError, ObservationError
from strands_diffusers.observations.resolve import absolute_address, read_observation


class Handler(http.server.BaseHTTPRequestHandler):
    """Paths choose how the server misbehaves; the body is always the server's clip."""

    def do_GET(self):
        self.server.asked.append(self.path)
        clip, kind = self.server.clip, self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404)
        elif kind == "downgrade":
            self.redirect(f"http://localhost:{self.server.server_port}/good/clip.mp4")
        elif kind == "moved":
            self.redirect("/good/clip.mp4")
        else:
            self.send_response(200)
            self.send_header("Content-Type", "text/plain")  # not trusted
            if kind in ("good", "cut"):
                self.send_header("Content-Length", str(len(clip) * (1 + (kind == "cut"))))
            self.end_headers()
            self.body(kind, clip)

    def redirect(self, target):
        self.send_response(302)
        self.send_header("Location", target)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def body(self, kind, clip):
        try:
            if kind in ("good", "cut", "unsized"):
                self.wfile.write(clip)
            elif kind == "endless":
                while True:
                    self.wfile.write(b"\0" * 65536)
            elif kind == "drip":
                for _ in range(200):
                    self.wfile.write(b"\0")
                    time.sleep(0.05)
            elif kind == "silent":
                time.sleep(3)
            elif kind == "page":
                self.wfile.write(b"<html>Please log in</html>")
        except OSError:
            pass  # the reader hung up

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    if not shutil.which("openssl"):
        pytest.skip("makes its certificate with the openssl command, which is not installed")
    folder = tmp_path_factory.mktemp("tls")
    ask = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    write = "-addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    subprocess.run(
        ["openssl", *ask.split(), *write.split()],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


@pytest.fixture
def server(certificate, write_clip, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    served = http.server.ThreadingHTTPServer(("localhost", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    served.socket = context.wrap_socket(served.socket, server_side=True)
    served.clip, served.asked, served.daemon_threads = write_clip().read_bytes(), [], True
    thread = threading.Thread(target=served.serve_forever, daemon=True)
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


@pytest.fixture
def source(certificate):
    """Build a source that trusts the test's certificate."""

    def build(**options):
        built = HttpsSource(HttpsSource.Config(allow=True, **options))
        built.tls = ssl.create_default_context(cafile=str(certificate / "cert.pem"))
        return built

    return build


def url(server, path):
    return f"//localhost:{server.server_port}/{path}"


@pytest.mark.parametrize("path", ["good/clip.mp4", "unsized/clip.mp4", "moved/clip.mp4", "good/clip.mp4?token=a@b"])
def test_a_clip_is_read_over_tls_with_its_options(path, server, source):
    seen = source().read(url(server, path) + "@start:3@task:Go.", request(num_frames=5))

    assert indexes(seen.frames) == [3, 4, 5, 6, 7]
    assert (seen.fps, seen.task, seen.details["downloaded_bytes"]) == (5.0, "Go.", len(server.clip))


def test_the_jobs_of_a_sweep_share_one_download(server, source):
    for start in (0, 1, 2):
        source().read(url(server, f"good/clip.mp4@start:{start}"), request())

    assert server.asked == ["/good/clip.mp4"]


def test_it_is_off_unless_allowed_and_asks_nobody(server, sources):
    with pytest.raises(ObservationError, match=r"Add source\.https\.allow=true") as error:
        read_observation(f"https:{url(server, 'good/clip.mp4')}", request(), sources)
    one_line(error)
    assert server.asked == []


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        ("missing/clip.mp4", {}, "answers 404 Not Found"),
        ("downgrade/clip.mp4", {}, "redirects to http://.*not https"),
        ("good/clip.mp4?big", {"max_mb": 0.0001}, r"larger than 0\.0001 MB\. Raise source\.https\.max_mb"),
        ("endless/clip.mp4", {"max_mb": 1}, "larger than 1 MB"),
        ("drip/clip.mp4", {"timeout_s": 0.5}, r"took longer than 0\.5 s\. Raise source\.https\.timeout_s"),
        ("silent/clip.mp4", {"timeout_s": 0.5}, r"took longer than 0\.5 s"),
        ("cut/clip.mp4", {}, "broke off after"),
        ("page/clip.mp4", {}, "not a clip"),
    ],
)
def test_a_server_that_misbehaves_is_one_line_that_names_the_url(path, options, words, server, source):
    with pytest.raises(ObservationError, match=words) as error:
        source(**options).read(url(server, path), request())

    assert f"localhost:{server.server_port}/{path}" in one_line(error)
    assert "/tmp" not in str(error.value), "the temporary copy is nobody's business"


def test_a_failed_download_leaves_nothing_and_may_be_tried_again(server, source):
    whole, server.clip = server.clip, b""
    with pytest.raises(ObservationError, match="is empty"):
        source().read(url(server, "unsized/again.mp4"), request())
    server.clip = whole
    with pytest.raises(ObservationError, match="larger"):
        source(max_mb=0.0001).read(url(server, "unsized/more.mp4"), request())

    assert len(source().read(url(server, "unsized/more.mp4"), request()).frames) == 17


def test_an_unknown_certificate_is_refused(server):
    with pytest.raises(ObservationError, match=r"(?i)cannot be fetched: .*certificate") as error:
        HttpsSource(HttpsSource.Config(allow=True)).read(url(server, "good/other.mp4"), request())
    one_line(error)


def test_nobody_answering_is_one_line(source):
    with pytest.raises(ObservationError, match="cannot be fetched") as error:
        source(timeout_s=2).read("//localhost:1/clip.mp4", request())
    one_line(error)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("//user:secret@host/clip.mp4", "user name or password"),
        ("///clip.mp4", "names no host"),
        ("//host/page", "does not end in the name of a file"),
        ("//host", "does not end in the name of a file"),
        ("//[host/clip.mp4", "is not a URL"),
    ],
)
def test_a_url_that_cannot_work_is_refused_before_it_is_opened(address, words, source):
    with pytest.raises(ObservationError, match=words) as error:
        source().read(address, request())
    assert "secret" not in one_line(error)


@pytest.mark.parametrize(
    "options", [{"max_mb": 0}, {"max_mb": float("nan")}, {"timeout_s": -1}, {"timeout_s": float("inf")}]
)
def test_limits_are_positive(options):
    with pytest.raises(ConfigError, match=rf"source\.https\.{next(iter(options))} must be > 0"):
        HttpsSource.Config(**options)


def test_unencrypted_addresses_and_paths_in_options(sources, tmp_path):
    with pytest.raises(ObservationError, match="is not encrypted"):
        read_observation("http://host/clip.mp4", request(), sources)
    assert (
        absolute_address("https://h/c.mp4@actions:a.json", tmp_path, sources)
        == f"https://h/c.mp4@actions:{tmp_path}/a.json"
    )
