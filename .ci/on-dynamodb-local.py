"""Runs a command with Amazon's DynamoDB Local: `.ci/on-dynamodb-local.py cargo test --workspace --test service`.

Downloads the engine once, starts it in memory on a free port, sets DYNAMODB_ENDPOINT, and ends it after the command.
Needs Java 17 or newer, and npm (Node 20), with which the engine is downloaded.
"""

import base64
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

# The npm package that contains the engine, and its integrity as npm's registry states it.
PACKAGE = "amplify-dynamodb-simulator@2.9.30"
INTEGRITY = "sha512-xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ=="
# How long the start may take.
PATIENCE = 60
HOME = pathlib.Path("target") / PACKAGE.replace("@", "-")
EMULATOR = HOME / "package/emulator"


def require(program, remedy):
    if not shutil.which(program):
        sys.exit(f"{program} is missing: install {remedy}")


def download():
    """Only the package itself: the engine needs none of its dependencies."""
    HOME.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "pack", "--silent", PACKAGE, "--pack-destination", HOME], check=True, stdout=subprocess.DEVNULL)
    archive = HOME / f"{HOME.name}.tgz"
    algorithm, expected = INTEGRITY.split("-", 1)
    digest = base64.b64encode(hashlib.new(algorithm, archive.read_bytes()).digest()).decode()
    if digest != expected:
        sys.exit(f"{archive} has the integrity {algorithm}-{digest} instead of {INTEGRITY}")
    with tempfile.TemporaryDirectory(dir=HOME) as unpacked:
        subprocess.run(["tar", "xzf", archive, "-C", unpacked, "package/emulator"], check=True)
        # Only when it is complete, so that the next run repeats an interrupted download.
        pathlib.Path(unpacked, "package").rename(HOME / "package")
    archive.unlink()


def responds(endpoint):
    try:
        urllib.request.urlopen(endpoint, timeout=5)
    except urllib.error.HTTPError:
        # It rejects a request without an operation.
        return True
    except OSError:
        return False
    return True


def start():
    """The engine's process and endpoint."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["java", "-Djava.library.path=DynamoDBLocal_lib", "-jar", "DynamoDBLocal.jar"]
    command += ["-inMemory", "-disableTelemetry", "-port", str(port)]
    with open(HOME / "log", "w", encoding="utf-8") as log:
        engine = subprocess.Popen(command, cwd=EMULATOR, stdout=log, stderr=subprocess.STDOUT)
    return engine, f"http://127.0.0.1:{port}"


def wait(engine, endpoint):
    """Until the engine responds."""
    deadline = time.monotonic() + PATIENCE
    while not responds(endpoint):
        if engine.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"DynamoDB Local does not start; it needs Java 17 or newer:\n{(HOME / 'log').read_text()}")
        time.sleep(0.2)


def main(command):
    require("java", "a Java runtime, version 17 or newer (Debian: openjdk-17-jre-headless)")
    if not EMULATOR.is_dir():
        require("npm", "Node 20, which contains npm")
        download()
    # A signal ends the engine too.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda *_: sys.exit(1))
    engine, endpoint = start()
    try:
        wait(engine, endpoint)
        return subprocess.run(command, env=os.environ | {"DYNAMODB_ENDPOINT": endpoint}).returncode
    finally:
        engine.terminate()
        engine.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
