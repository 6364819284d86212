"""Figures beside llama.cpp's server, over HTTP, in one run.

Both serve the same file with the same number of threads behind the same
NGINX: ours by llm_pass, llama-server by proxy_pass. They take turns, round
by round, since such machines are noisy; medians are reported. Then the path
alone (a model that costs nothing), and the rings' and kernels' own benches.

Writes build/bench.json (a list of {"name", "unit", "ours", "peer",
"peer_name", "ratio", "limit", "share"}) and build/bench.svg, prints a table.
"""

import argparse
import glob
import json
import os
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build")

WORDS = ("time year people way day man thing woman life child world school "
         "state family student group country problem hand part place case "
         "week company system program question work government number night "
         "point home water room mother area money story fact month lot right "
         "study book eye job word business issue side kind head house").split()

CONF = """
load_module {build}/ngx_http_llm_module.so;
{user}
worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/error.log notice;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
    access_log off;
    keepalive_requests 1000000;
    client_max_body_size 32m;
    limit_req_status 429;
    llm_engine local {{ socket unix:{dir}/engine.sock; }}
    llm_engine null {{ socket unix:{dir}/null.sock; }}
    llm_model smollm2 {{ engine local; weights {file}; }}
    llm_model nothing {{ engine null; weights {file}; }}
    upstream peer {{ server 127.0.0.1:{peer}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port};
        location /v1/ {{ llm_pass smollm2; }}
        location /null/v1/ {{ llm_pass nothing; }}
        location /peer/v1/ {{
            proxy_pass http://peer/v1/;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 600s;
        }}
        location = /readyz {{ llm_health; }}
        location = /static {{ return 200 "{static}"; }}
    }}
}}
"""


def say(text, end="\n"):
    sys.stderr.write(text + end)
    sys.stderr.flush()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def prompt(seed, words):
    """Unique from its first word on: no prefix is shared."""
    out, x = [], seed * 2654435761 % 2**32
    for _ in range(words):
        x = (x * 1664525 + 1013904223) % 2**32
        out.append(WORDS[(x >> 16) % len(WORDS)])
    return "%d %s" % (seed, " ".join(out))


class Load:
    """n clients, each `each` requests in a row; raw HTTP over one thread."""

    def __init__(self, port, path, bodies, clients):
        self.port, self.path = port, path
        self.bodies = list(bodies)
        self.clients = clients
        self.first = []
        self.events = 0
        self.done = 0

    def request(self):
        body = json.dumps(self.bodies.pop()).encode()
        return (b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: "
                b"application/json\r\nContent-Length: %d\r\n\r\n"
                % (self.path.encode(), len(body))) + body

    def run(self, timeout=600):
        sel = selectors.DefaultSelector()
        start = time.perf_counter()
        live = 0
        for _ in range(min(self.clients, len(self.bodies))):
            s = socket.create_connection(("127.0.0.1", self.port))
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sel.register(s, selectors.EVENT_READ, {})
            self.send(s, sel)
            live += 1
        while live:
            for key, _ in sel.select(timeout):
                s, st = key.fileobj, key.data
                data = s.recv(1 << 16)
                now = time.perf_counter()
                if not data:
                    raise RuntimeError("the server closed: %r" % st["tail"])
                text = st["tail"] + data
                n = data.count(b"data: {")
                if "head" not in st:
                    if b"\r\n\r\n" not in text:
                        st["tail"] = text
                        continue
                    if not text.startswith(b"HTTP/1.1 200"):
                        raise RuntimeError(text[:500].decode())
                    st["head"] = True
                    st["chunked"] = b"chunked" in text.split(b"\r\n\r\n")[0]
                self.events += n
                st["events"] += n
                # The role's event comes at once; the second is a token's.
                if st["first"] is None and (st["events"] >= 2
                                            or not st["chunked"]):
                    st["first"] = now - st["start"]
                    self.first.append(st["first"])
                st["tail"] = text[-32:]
                if st["chunked"]:
                    end = text.endswith(b"\r\n0\r\n\r\n")
                else:
                    end = text.rstrip().endswith((b"}", b"static"))
                if end:
                    self.done += 1
                    if self.bodies:
                        self.send(s, sel)
                    else:
                        sel.unregister(s)
                        s.close()
                        live -= 1
        self.wall = time.perf_counter() - start
        return self

    def send(self, s, sel):
        req = self.request()
        sel.modify(s, selectors.EVENT_READ,
                   {"start": time.perf_counter(), "first": None, "events": 0,
                    "tail": b""})
        s.sendall(req)


class Bench:
    def __init__(self, args):
        self.args = args
        self.rows = []
        self.seed = int(time.time()) % 100000 * 1000
        self.procs = []
        self.dir = tempfile.mkdtemp(prefix="ngx-llm-bench.")
        os.chmod(self.dir, 0o755)

    def row(self, name, unit, ours, peer=None, peer_name=None, limit=None,
            lower=False):
        ratio = None
        if peer:
            ratio = peer / ours if lower else ours / peer
        self.rows.append({
            "name": name, "unit": unit, "ours": ours, "peer": peer,
            "peer_name": peer_name, "ratio": ratio, "limit": limit,
            "share": ours / limit if limit else None})

    def spawn(self, name, cmd):
        log = open(os.path.join(self.dir, name + ".log"), "w")
        p = subprocess.Popen(cmd, stdout=log, stderr=log)
        self.procs.append(p)
        return p

    def start(self):
        a = self.args
        self.port, self.peer_port = free_port(), free_port()
        with open(os.path.join(self.dir, "nginx.conf"), "w") as f:
            f.write(CONF.format(
                build=BUILD, dir=self.dir, file=os.path.basename(a.model),
                peer=self.peer_port, port=self.port, static="static",
                user="user root root;" if os.getuid() == 0 else ""))
        for sock, more in (("engine", []), ("null", ["--null-model"])):
            self.spawn(sock, [
                os.path.join(BUILD, "ngx-llm-engine"),
                "--socket", os.path.join(self.dir, sock + ".sock"),
                "--model-root", os.path.dirname(a.model),
                "--threads", str(a.threads), "--memory", "4g"] + more)
        if a.peer:
            self.spawn("peer", [
                a.peer, "-m", a.model, "-t", str(a.threads), "-np", "32",
                "-c", str(32 * 2048), "--host", "127.0.0.1",
                "--port", str(self.peer_port), "--no-webui"])
        time.sleep(0.5)
        self.spawn("nginx", ["nginx", "-p", self.dir,
                             "-c", os.path.join(self.dir, "nginx.conf")])
        self.wait(self.port, "/readyz")
        if a.peer:
            self.wait(self.peer_port, "/health")

    def wait(self, port, path):
        end = time.time() + 120
        while time.time() < end:
            try:
                with socket.create_connection(("127.0.0.1", port)) as s:
                    s.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
                    if b" 200 " in s.recv(64):
                        return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError("nothing answers at port %d%s; logs in %s"
                           % (port, path, self.dir))

    def stop(self):
        for p in reversed(self.procs):
            p.terminate()
        for p in self.procs:
            p.wait()
        shutil.rmtree(self.dir, ignore_errors=True)

    def bodies(self, n, words, tokens, stream=True, seed=None):
        out = []
        for i in range(n):
            self.seed += 1
            out.append({
                "model": "smollm2", "stream": stream, "temperature": 0,
                "max_tokens": tokens, "ignore_eos": True,
                "cache_prompt": seed is not None,
                "messages": [{"role": "user", "content":
                              prompt(seed or self.seed, words)}]})
        return out

    def load(self, who, bodies, clients, api="chat/completions"):
        path = {"ours": "/v1/", "null": "/null/v1/", "peer": "/peer/v1/"}
        return Load(self.port, path[who] + api, bodies, clients).run()

    def compare(self, what, run):
        """run(who) -> figure; rounds in turn; medians."""
        whos = ["ours"] + (["peer"] if self.args.peer else [])
        got = {w: [] for w in whos}
        for r in range(self.args.rounds + 1):
            for w in whos:
                say("\r%-50s round %d of %d, %s    "
                    % (what, r, self.args.rounds, w), end="")
                v = run(w)
                if r:  # the first warms up
                    got[w].append(v)
        say("\r%-79s" % "", end="\r")

        def median(v):
            if isinstance(v[0], tuple):
                return tuple(statistics.median(x) for x in zip(*v))
            return statistics.median(v)

        return (median(got["ours"]),
                median(got["peer"]) if self.args.peer else None)

    def streams(self):
        for n in (1, 4, 16, 32):
            def run(who):
                m = self.load(who, self.bodies(n, 60, 128), n)
                return (n * 128 / m.wall, statistics.median(m.first) * 1e3)
            ours, peer = self.compare("%d streams" % n, run)
            peer = peer or (None, None)
            self.row("%d stream%s, 128 new tokens each" % (n, "s" * (n > 1)),
                     "tokens/s", ours[0], peer[0], "llama-server")
            self.row("first token, median, %d stream%s" % (n, "s" * (n > 1)),
                     "ms", ours[1], peer[1], "llama-server", lower=True)

    def prefill(self):
        """Rate of a prompt of token ids: whole answers of one token."""
        def run(who):
            self.seed += 1
            x, ids = self.seed, []
            for _ in range(1024):
                x = (x * 1664525 + 1013904223) % 2**32
                ids.append(1000 + (x >> 8) % 40000)
            m = self.load(who, [{
                "model": "smollm2", "prompt": ids, "max_tokens": 1,
                "temperature": 0, "cache_prompt": False}], 1, "completions")
            return 1024 / m.wall
        ours, peer = self.compare("prefill", run)
        self.row("prefill, prompt of 1024 tokens", "tokens/s", ours, peer,
                 "llama-server")

    def first(self):
        for words, cached in ((400, False), (400, True)):
            def run(who):
                seed = None
                if cached:
                    self.seed += 1
                    seed = self.seed
                    self.load(who, self.bodies(1, words, 1, seed=seed), 1)
                m = self.load(who, self.bodies(1, words, 2, seed=seed), 1)
                return m.first[0] * 1e3
            what = "first token, prompt of %d words, %s" % (
                words, "cached" if cached else "cold")
            ours, peer = self.compare(what, run)
            self.row(what, "ms", ours, peer, "llama-server", lower=True)

    def path(self):
        def requests(who):
            if who == "static":
                m = Load(self.port, "/static", [{}] * 4000, 16).run()
            else:
                m = self.load("null", self.bodies(2000, 5, 1, stream=False),
                              16)
            return m.done / m.wall
        limit, ours = [], []
        for _ in range(self.args.rounds):
            say("\rthe path alone...", end="")
            limit.append(requests("static"))
            ours.append(requests("null"))
        self.row("requests/s of the path alone (null model, 16 connections)",
                 "1/s", statistics.median(ours),
                 limit=statistics.median(limit))
        ev = []
        for _ in range(self.args.rounds):
            m = self.load("null", self.bodies(32, 5, 500), 32)
            ev.append(m.events / m.wall)
        self.row("SSE events/s of the path alone (null model, 32 streams)",
                 "1/s", statistics.median(ev))
        say("\r%-79s" % "", end="\r")

    def tools(self):
        for tool in ("llm-ringbench", "llm-gemmbench"):
            exe = os.path.join(BUILD, tool)
            if not os.path.exists(exe):
                continue
            say(tool + "...")
            out = subprocess.run([exe, "--json"], stdout=subprocess.PIPE,
                                 check=True).stdout
            self.rows += json.loads(out)


def table(rows):
    print("%-58s %12s %12s %7s %7s" % ("", "ours", "peer", "ratio", "share"))
    for r in rows:
        print("%-58s %12s %12s %7s %7s" % (
            r["name"][:58], "%.4g %s" % (r["ours"], r["unit"]),
            "" if r["peer"] is None else "%.4g" % r["peer"],
            "" if r["ratio"] is None else "%.2f" % r["ratio"],
            "" if r.get("share") is None else "%.0f %%" % (100 * r["share"])))


def chart(rows, path):
    try:
        import matplotlib
        matplotlib.use("svg")
        import matplotlib.pyplot as plt
    except ImportError:
        say("no matplotlib: no chart")
        return
    rows = [r for r in rows if r["ratio"]]
    if not rows:
        return
    fig, ax = plt.subplots(figsize=(9, 0.32 * len(rows) + 1))
    y = range(len(rows))
    ax.barh(y, [r["ratio"] for r in rows],
            color=["#2a7" if r["ratio"] >= 1 else "#c64" for r in rows])
    ax.axvline(1, color="#333", lw=1)
    ax.set_yticks(list(y))
    ax.set_yticklabels([r["name"] for r in rows], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel("times as good as the peer of the same run (1 = equal)")
    fig.tight_layout()
    fig.savefig(path)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", required=True)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--peer", default=os.environ.get("LLAMA_SERVER"),
                   help="llama-server to measure beside")
    p.add_argument("--no-tools", action="store_true")
    args = p.parse_args()
    if not args.peer:
        found = glob.glob(os.path.join(sys.prefix, "**", "llama-server"),
                          recursive=True)
        args.peer = found[0] if found else shutil.which("llama-server")
    if not args.peer:
        say("no llama-server: our figures only (LLAMA_SERVER=path)")

    b = Bench(args)
    try:
        b.start()
        b.prefill()
        b.streams()
        b.first()
        b.path()
        if not args.no_tools:
            b.tools()
    finally:
        b.stop()
    table(b.rows)
    with open(os.path.join(BUILD, "bench.json"), "w") as f:
        json.dump(b.rows, f, indent=1)
    chart(b.rows, os.path.join(BUILD, "bench.svg"))
    say("written: build/bench.json, build/bench.svg")


main()
