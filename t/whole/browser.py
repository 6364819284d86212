"""Headless Chromium against the server at argv[1], from another origin.

A page served from a port of its own asks by fetch(), reads the stream as it
comes, and stops one half-way by its Stop button. Prints TAP.
"""

import http.server
import json
import shutil
import sys
import threading
import time
import urllib.request

from playwright.sync_api import sync_playwright

BASE = sys.argv[1]
count = failed = 0

PAGE = """<!DOCTYPE html><meta charset="utf-8"><title>chat</title>
<button id="go">Go</button> <button id="stop">Stop</button>
<pre id="out"></pre><pre id="state">idle</pre>
<script>
const $ = id => document.getElementById(id);
let ctl;
async function ask(body) {
    ctl = new AbortController();
    $("out").textContent = ""; $("state").textContent = "running";
    window.arrivals = []; window.headers = {};
    try {
        const r = await fetch("BASE/chat/completions", {
            method: "POST", signal: ctl.signal,
            headers: {"Content-Type": "application/json",
                      "Authorization": "Bearer none",
                      "X-Stainless-Lang": "js"},
            body: JSON.stringify(body)});
        for (const [k, v] of r.headers) window.headers[k] = v;
        if (!r.ok) {
            $("state").textContent = "error " + (await r.json()).error.code;
            return;
        }
        const dec = new TextDecoder(), rd = r.body.getReader();
        let buf = "";
        for (;;) {
            const {done, value} = await rd.read();
            if (done) break;
            buf += dec.decode(value, {stream: true});
            let i;
            while ((i = buf.indexOf("\\n\\n")) >= 0) {
                const ev = buf.slice(0, i); buf = buf.slice(i + 2);
                if (!ev.startsWith("data: ") || ev === "data: [DONE]")
                    continue;
                window.arrivals.push(performance.now());
                const c = JSON.parse(ev.slice(6)).choices[0];
                $("out").textContent += c.delta.content || "";
            }
        }
        $("state").textContent = "done";
    } catch (e) {
        $("state").textContent = e.name;
    }
}
$("go").onclick = () => ask(window.body);
$("stop").onclick = () => ctl.abort();
</script>
"""


def ok(cond, name, note=None):
    global count, failed
    count += 1
    failed += not cond
    print("%sok %d - %s" % ("" if cond else "not ", count, name))
    if not cond and note is not None:
        print("#   " + str(note))
    sys.stdout.flush()


def metric(name):
    with urllib.request.urlopen(BASE[:-3] + "/metrics") as r:
        for line in r.read().decode().splitlines():
            if line.startswith(name):
                return float(line.rsplit(" ", 1)[1])
    return None


def wait_for(what, seconds=20):
    end = time.time() + seconds
    while time.time() < end:
        if what():
            return True
        time.sleep(0.05)
    return False


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(PAGE.replace("BASE", BASE).encode())

    def log_message(self, *args):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()

with sync_playwright() as p:
    browser = p.chromium.launch(
        executable_path=shutil.which("chromium"),
        args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
    page = browser.new_page()
    page.goto("http://127.0.0.1:%d/" % server.server_port)

    def ask(**body):
        page.evaluate("b => { window.body = b }", {
            "model": "default", "stream": True, "temperature": 0,
            "messages": [{"role": "user", "content": "Tell me a story."}],
            **body})
        page.click("#go")

    def state():
        return page.text_content("#state")

    ask(max_tokens=40)
    ok(wait_for(lambda: state() == "done"), "a stream from another origin",
       state())
    ok(len(page.text_content("#out")) > 40, "its text")
    ok(page.evaluate("window.arrivals.length") >= 40, "event by event")
    ok(page.evaluate(
        "window.arrivals.at(-1) - window.arrivals[0]") > 50,
       "as they come, not in one lump")
    ok(page.evaluate("!!window.headers['x-request-id']"),
       "x-request-id is exposed", page.evaluate("window.headers"))

    ask(model="nosuch")
    ok(wait_for(lambda: state() == "error model_not_found"),
       "an error is readable from another origin", state())

    ask(max_tokens=4000, ignore_eos=True)
    ok(wait_for(lambda: len(page.text_content("#out")) > 20),
       "a long stream begins")
    page.click("#stop")
    ok(wait_for(lambda: state() == "AbortError"), "Stop", state())
    ok(wait_for(lambda: metric("vllm:num_requests_running") == 0),
       "and the engine stops computing")
    ok(metric("vllm:kv_cache_usage_perc") == 0, "and its pages are free")

    ask(max_tokens=4000, ignore_eos=True)
    wait_for(lambda: len(page.text_content("#out")) > 20)
    page.close()
    ok(wait_for(lambda: metric("vllm:num_requests_running") == 0),
       "closing the tab stops it too")
    browser.close()

print("1..%d" % count)
sys.exit(failed > 0)
