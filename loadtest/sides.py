"""What steps.py measures: Turlough on each state, and its peers, each on ports and in a folder of its
own. A side is a context manager; when it has ended, nothing that it started is left."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
RELEASE = ROOT / "target/release"
NATS_SERVER = ROOT / ".venv/bin/nats-server"
PEERS = ROOT / ".cache/peers"
POSTGRES = Path("/usr/lib/postgresql/15/bin")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def until(what, condition, seconds=60):
    """Waits for a condition, and gives what it gave."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    sys.exit(f"steps: {what} was not ready after {seconds} s")


def listens(port):
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def get(url, data=None):
    """The status, 0 where there is no answer."""
    headers = {"content-type": "application/json"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


class Side:
    """`chain`, `fanout`: arguments of turlough-loadtest that say whom to measure; None: not measured."""

    #: What of the work survives what.
    durability = ""
    #: Kinds of steps, by name, and their arguments.
    kinds = {}
    fanout = throughput = None

    def __init__(self, name, folder):
        self.name, self.folder, self.processes = name, folder / name, []

    def spawn(self, command, **options):
        with open(self.folder / f"{Path(command[0]).name}.log", "ab") as log:
            options = {"stdout": log, "stderr": log, "cwd": self.folder, **options}
            process = subprocess.Popen([str(word) for word in command], **options)
        self.processes.append(process)
        return process

    def __enter__(self):
        self.folder.mkdir(parents=True)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
        for process in reversed(self.processes):
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


class Turlough(Side):
    """A gateway, a flow-function and the no-op function, each a process."""

    def __init__(self, name, folder, durability, state="memory:", nats_sync=None, **environment):
        super().__init__(name, folder)
        self.durability, self.state, self.nats_sync, self.environment = durability, state, nats_sync, environment

    def start(self):
        if self.nats_sync is not None:
            port = free_port()
            config = self.folder / "nats.conf"
            config.write_text(f'listen: "127.0.0.1:{port}"\n'
                              f'jetstream {{ store_dir: "{self.folder}/jetstream"{self.nats_sync} }}\n')
            self.spawn([NATS_SERVER, "-c", config])
            until("nats-server", lambda: listens(port))
            self.state = f"nats://127.0.0.1:{port}"
        elif self.state == "file:":
            self.state = f"file:{self.folder}/state"
        self.start_platform()

    def start_platform(self):
        """Starts it; gives the seconds from its start until requests are taken."""
        begin = time.monotonic()
        self.platform = self.spawn(
            [RELEASE / "turlough", "dev", "--quiet", "--output", "json", "-f", HERE / "stack.yaml",
             "--gateway-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"],
            stdout=subprocess.PIPE, text=True,
            env={**os.environ, "TURLOUGH_STATE": self.state, **self.environment})
        line = self.platform.stdout.readline()
        if not line:
            sys.exit(f"steps: turlough dev did not start; see {self.folder}")
        self.ready = json.loads(line)
        self.gateway = self.ready["gateway"]
        until("the flow-function", lambda: get(f"{self.gateway}/function/flows/_/ready") == 200, 300)
        seconds = time.monotonic() - begin
        whom = ["--gateway", self.gateway]
        self.kinds = {"apply": whom, "pure": [*whom, "--pure"]}
        self.fanout = self.throughput = whom
        return seconds

    def restart_platform(self):
        self.platform.terminate()
        self.platform.wait()
        self.processes.remove(self.platform)
        return self.start_platform()

    def pids(self):
        """By what runs there."""
        found = {"gateway": self.platform.pid}
        found.update({function["name"]: function["pid"] for function in self.ready["functions"]})
        found.update({"nats-server": p.pid for p in self.processes if Path(p.args[0]) == NATS_SERVER})
        return found


class Restate(Side):
    durability = "RocksDB, fsync before an entry counts, in groups (its default)"

    def __init__(self, name, folder):
        super().__init__(name, folder)
        install = PEERS / "restate"
        if not (install / "node_modules/@restatedev/restate-sdk").is_dir():
            print(f"steps: installing Restate into {install.relative_to(ROOT)}", flush=True)
            install.mkdir(parents=True, exist_ok=True)
            shutil.copy(HERE / "peers/package.json", install)
            command = ["npm", "install", "--ignore-scripts", "--no-fund", "--no-audit", "--silent"]
            subprocess.run(command, cwd=install, check=True)
        # The SDK is looked for from where the script lies.
        shutil.copy(HERE / "peers/restate.mjs", install)
        self.install = install

    def start(self):
        ingress, admin, node, service = (free_port() for _ in range(4))
        self.spawn(["node", self.install / "restate.mjs"], env={**os.environ, "port": str(service)})
        # The program itself, since its starter in Node would not pass a signal on.
        program = next(self.install.glob("node_modules/@restatedev/restate-server-*/bin/restate-server"))
        address = "127.0.0.1:{}".format
        self.spawn([program, "--base-dir", self.folder / "data", "--node-name", "n1"], env={
            **os.environ, "DO_NOT_TRACK": "1", "RESTATE_DISABLE_TELEMETRY": "true",
            "RESTATE_BIND_ADDRESS": address(node), "RESTATE_INGRESS__BIND_ADDRESS": address(ingress),
            "RESTATE_ADMIN__BIND_ADDRESS": address(admin)})
        until("restate-server", lambda: get(f"http://{address(admin)}/health") == 200)
        until("Restate's service", lambda: listens(service))
        deployment = json.dumps({"uri": f"http://{address(service)}"}).encode()
        until("the deployment", lambda: get(f"http://{address(admin)}/deployments", deployment) == 201)
        url = f"http://{address(ingress)}/Peer/".__add__
        until("the handler", lambda: get(url("chain"), b'{"steps": 1, "start": 1}') == 200)
        self.kinds = {"call": ["--url", url("chain")], "run": ["--url", url("run")]}
        self.fanout, self.throughput = ["--url", url("fanout")], ["--url", url("chain")]


class Dbos(Side):
    durability = "Postgres 15, fsync at each commit (its default)"

    def __init__(self, name, folder):
        super().__init__(name, folder)
        if not (POSTGRES / "initdb").exists():
            sys.exit("steps: postgresql 15 is missing; install it (Debian: apt-get install postgresql-15), "
                     "or leave the peer out: --sides")
        self.python = PEERS / "dbos/bin/python"
        if not self.python.exists():
            print("steps: installing DBOS into .cache/peers/dbos", flush=True)
            subprocess.run([sys.executable, "-m", "venv", PEERS / "dbos"], check=True)
            subprocess.run([self.python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install",
                            "--only-binary", ":all:", "-r", HERE / "peers/requirements.txt"], check=True)

    def start(self):
        data, port, service = self.folder / "data", free_port(), free_port()
        user = {}
        if os.geteuid() == 0:  # as whom Postgres does not run
            entry = pwd.getpwnam("postgres")
            user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        subprocess.run([POSTGRES / "initdb", "-D", data, "-A", "trust", "-U", "postgres"], check=True,
                       cwd=self.folder, stdout=subprocess.DEVNULL, **user)
        self.spawn([POSTGRES / "postgres", "-D", data, "-p", port, "-c", "listen_addresses=127.0.0.1",
                    "-c", f"unix_socket_directories={self.folder}"], **user)
        ready = [POSTGRES / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
        until("postgres", lambda: subprocess.run(ready).returncode == 0)
        url = f"postgresql://postgres@127.0.0.1:{port}/dbos"
        self.spawn([self.python, HERE / "peers/dbos_peer.py"],
                   env={**os.environ, "DBOS_URL": url, "port": str(service)})
        until("the workflow", lambda: get(f"http://127.0.0.1:{service}/chain", b'{"steps": 1, "start": 1}') == 200)
        self.kinds = {"step": ["--url", f"http://127.0.0.1:{service}/chain"]}
        self.fanout = ["--url", f"http://127.0.0.1:{service}/fanout"]
        self.throughput = self.kinds["step"]


def all_sides(folder):
    """By name, not yet made: a peer is installed where it is made."""
    ours = {
        "memory": ("none: ends with the process", {}),
        "nats": ("JetStream in files, acknowledged from the page cache, fsync every 2 min (its default)",
                 {"nats_sync": ""}),
        "nats-always": ("JetStream in files, fsync at each append", {"nats_sync": ", sync_interval: always"}),
        "file": ("files, acknowledged from the page cache, fsync every 200 ms (the default)", {"state": "file:"}),
        "file-always": ("files, fsync at each append, in groups",
                        {"state": "file:", "TURLOUGH_STATE_SYNC": "always"}),
    }

    def turlough(name, durability, options):
        return lambda: Turlough(name, folder, durability, **options)

    sides = {name: turlough(name, *rest) for name, rest in ours.items()}
    return {**sides, "restate": lambda: Restate("restate", folder), "dbos": lambda: Dbos("dbos", folder)}
