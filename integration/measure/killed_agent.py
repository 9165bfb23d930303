#!/usr/bin/env python3
"""What requests notice of an agent that is killed: a real Consul, six instances of three services, and some 300 requests a second.

  cargo build --release
  killed_agent.py with     [--lictor target/release/lictor] [--consul consul]   60 s dead, then back with its memory (-data-dir)
  killed_agent.py without                                                      back at once without it (-dev); half of the instances register
                                                                               again after 20 s, the others never, and are killed after 40 s
  killed_agent.py cold                                                         20 starts while the agent is dead, from the saved catalog

Everything listens on 127.0.0.1, takes under two minutes, and ends by itself. It prints how many requests were answered with anything but 200, or
how long a start took until the first 200.
"""
import argparse, http.client, http.server, json, pathlib, shutil, socket, socketserver, subprocess, sys, tempfile, threading, time, urllib.request

ARGUMENTS = argparse.ArgumentParser()
ARGUMENTS.add_argument("mode", choices=["with", "without", "cold", "serve"])
ARGUMENTS.add_argument("--lictor", default="target/release/lictor")
ARGUMENTS.add_argument("--consul", default="consul")
ARGUMENTS.add_argument("--port", type=int, help="of `serve`, an instance")
OPTIONS = ARGUMENTS.parse_args()


def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes: the second would wait for the acknowledgement of the first.
    disable_nagle_algorithm = True

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


if OPTIONS.mode == "serve":
    Server(("127.0.0.1", OPTIONS.port), Handler).serve_forever()

FOLDER = pathlib.Path(tempfile.mkdtemp())
HTTP, PUBLIC, ADMIN = free(), free(), free()
AGENT = f"http://127.0.0.1:{HTTP}"
PORTS = [free() for _ in range(6)]
CONFIG = {"bind_addr": "127.0.0.1", "log_level": "err", "ports": {
    "http": HTTP, "dns": -1, "grpc": -1, "server": free(), "serf_lan": free(), "serf_wan": free()}}
(FOLDER / "agent.json").write_text(json.dumps(CONFIG))
(FOLDER / "lictor.toml").write_text(
    f'[[listener]]\naddress = "127.0.0.1:{PUBLIC}"\n[admin]\naddress = "127.0.0.1:{ADMIN}"\n[api]\nauth = false\n'
    f'[consul]\naddress = "{AGENT}"\nsnapshot = {{ file = "{FOLDER}/catalog.json" }}\n')
INSTANCES = {port: subprocess.Popen([sys.executable, __file__, "serve", "--port", str(port)]) for port in PORTS}
RUNNING = {}


def put(path, body=None):
    data = json.dumps(body).encode() if body else b""
    urllib.request.urlopen(urllib.request.Request(AGENT + path, method="PUT", data=data), timeout=10).read()


def agent():
    kind = ["-dev"] if OPTIONS.mode == "without" else ["-server", "-bootstrap-expect", "1", "-data-dir", str(FOLDER / "data")]
    command = [OPTIONS.consul, "agent", "-config-file", str(FOLDER / "agent.json"), *kind]
    RUNNING["agent"] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(urllib.request.urlopen(AGENT + "/v1/status/leader", timeout=1).read()) > 4, "the agent has no leader")


def gateway():
    command = [OPTIONS.lictor, "run", "--config", str(FOLDER / "lictor.toml")]
    RUNNING["gateway"] = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=open(FOLDER / "log", "a"))


def end(name):
    RUNNING[name].kill()
    RUNNING[name].wait()


def register(place):
    name, port = f"s{place % 3}", PORTS[place]
    check = {"TTL": "3600s", "Status": "passing"}
    put("/v1/agent/service/register", {"Name": name, "ID": f"{name}-{port}", "Address": "127.0.0.1", "Port": port, "Tags": ["gateway"], "Check": check})
    # An agent keeps the state of a TTL check only when it was passed once.
    put(f"/v1/agent/check/pass/service:{name}-{port}")


def get(path, connection=None):
    connection = connection or http.client.HTTPConnection("127.0.0.1", PUBLIC, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    return answer.status


def until(what, why, pause=0.1):
    begun = time.time()
    while time.time() - begun < 60:
        try:
            if what():
                return
        except OSError:
            pass
        time.sleep(pause)
    raise SystemExit(why)


def starts():
    time.sleep(7)  # the catalog is saved 5 s after a change at most
    end("gateway")
    end("agent")
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        gateway()
        until(lambda: get("/api/s0/x") == 200, "nothing is served from the saved catalog", 0.001)
        times.append((time.perf_counter() - begun) * 1000)
        end("gateway")
    times.sort()
    print(f"first 200 after a start with a dead agent, ms: {times[0]:.1f} to {times[-1]:.1f}, median {times[10]:.1f} of 20")


def load(stop, seen):
    connection, nth = None, 0
    while not stop.is_set():
        connection = connection or http.client.HTTPConnection("127.0.0.1", PUBLIC, timeout=10)
        try:
            status = get(f"/api/s{nth % 3}/x", connection)
        except (OSError, http.client.HTTPException) as error:
            status, connection = type(error).__name__, None
        seen[status] = seen.get(status, 0) + 1
        nth += 1
        time.sleep(0.008)


def killed():
    stop, seen = threading.Event(), [{} for _ in range(4)]
    threads = [threading.Thread(target=load, args=(stop, one)) for one in seen]
    for thread in threads:
        thread.start()
    time.sleep(5)
    end("agent")
    begun = time.time()
    if OPTIONS.mode == "with":
        time.sleep(60)
        agent()
        time.sleep(15)
    else:
        agent()
        time.sleep(max(0, begun + 20 - time.time()))
        for place in (0, 1, 2):
            register(place)
        time.sleep(max(0, begun + 40 - time.time()))
        for port in PORTS[3:]:
            INSTANCES[port].kill()
        time.sleep(30)
    stop.set()
    for thread in threads:
        thread.join()
    total = {status: sum(one.get(status, 0) for one in seen) for one in seen for status in one}
    print(f"agent killed, {OPTIONS.mode} its memory: {sum(total.values()) - total.get(200, 0)} of {sum(total.values())} failed {total}")


try:
    agent()
    for place in range(6):
        register(place)
    gateway()
    until(lambda: all(get(f"/api/s{n}/x") == 200 for n in range(3)), "the gateway does not serve: " + str(FOLDER / "log"))
    starts() if OPTIONS.mode == "cold" else killed()
    shutil.rmtree(FOLDER)
finally:
    for process in [*RUNNING.values(), *INSTANCES.values()]:
        process.kill()
