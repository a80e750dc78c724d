"""A running server and the few requests that the checks need; Python's standard library only."""
import http.client
import json
import os
import re
import signal
import subprocess
import urllib.parse


def binary():
    """The release build, or what EMBERMQ names."""
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    path = os.environ.get("EMBERMQ", os.path.join(target, "release", "embermq"))
    if not os.path.exists(path):
        raise SystemExit(f"{path} is not there: cargo build --release first")
    return path


class Server:
    """`embermq serve` on a port of the system's choice."""

    def __init__(self, data, **settings):
        env = dict(os.environ, NO_COLOR="1")
        env.update({f"EMBERMQ__{key.upper()}": str(value) for key, value in settings.items()})
        command = [binary(), "serve", "--listen", "127.0.0.1:0", "--data", data]
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        self.banner = []
        self.url = None
        for line in self.process.stdout:
            self.banner.append(line.rstrip())
            found = re.search(r"http://[0-9.]+:[0-9]+", line)
            if found:
                self.url = found.group(0)
                break
        if self.url is None:
            raise SystemExit("the server ended before it said where it listens")

    def request(self, method, path, body=None, headers=None):
        """Status, headers, body."""
        at = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(at.hostname, at.port, timeout=60)
        try:
            connection.request(method, path, body=body, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None):
        """Status and decoded body."""
        text = None if body is None else json.dumps(body)
        status, _, answer = self.request(method, path, text, {"Content-Type": "application/json"})
        return status, json.loads(answer) if answer else None

    def stop(self):
        """In order, as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def kill(self):
        """As `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def rss_kib(self):
        """Memory that is really in use."""
        with open(f"/proc/{self.process.pid}/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
