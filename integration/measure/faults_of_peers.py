#!/usr/bin/env python3
"""What other gateways make of the faults in consul/README.md: each is run against the fake agent, and clients ask all the while.

  cargo build -p integration --bin fake-agent
  faults_of_peers.py --fake target/debug/fake-agent --traefik PATH [--rows NAME,NAME]
  faults_of_peers.py --fake target/debug/fake-agent --fabio PATH
  faults_of_peers.py --fake target/debug/fake-agent --lictor PATH

Everything listens on 127.0.0.1. A row takes at most a minute and a half; all of them end by themselves, and so does whatever was started. A line of
output is a row's test, a tab, and what clients saw:
  kept                 every request was answered with 200 while the fault lasted
  lost N of M          so many services had other answers than 200; where that was less than one request of a hundred:
  N of M requests lost
  +N s                 a service that registered then was routed after so long (`never`: not within 40 s)
With --write they go into the table of consul/README.md; --from takes the lines of an earlier run instead of running anything.
"""
import argparse, hashlib, http.client, http.server, json, pathlib, re, socket, socketserver, subprocess, sys, tempfile, threading, time

A = argparse.ArgumentParser()
A.add_argument("--fake")
A.add_argument("--traefik")
A.add_argument("--fabio")
A.add_argument("--lictor")
A.add_argument("--rows", default="")
A.add_argument("--write", action="store_true")
A.add_argument("--from", dest="earlier", metavar="FILE")
A = A.parse_args()
WINDOW, PATIENCE, KEY = 8, 40, "test-api-key"


def free():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


def backend():
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


BACKENDS = [backend(), backend()]


class Stand:
    """A fake agent, a peer before it, and clients."""

    def __init__(self, services, before=(), version=None, more=""):
        self.more = more
        self.names = [f"s{n}" for n in range(services)]
        self.fake = subprocess.Popen([A.fake], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.agent, self.commands = self.fake.stdout.readline().split()
        self.port, self.folder = free(), tempfile.TemporaryDirectory()
        self.log = pathlib.Path(self.folder.name) / "log"
        self.peer = self.thread = None
        self.bad, self.good, self.lost, self.asking = {}, 0, 0, False
        self.put("register", [self.instance(f"s{n}", k) for n in range(services) for k in (1, 2)])
        if version:
            self.put("version", version)
        for rule in before:
            self.put("fail", rule)

    def instance(self, name, k, node=None):
        number = int("".join(c for c in name if c.isdigit()) or 0)
        tags = ["gateway", "traefik.enable=true", f"urlprefix-/api/{name}/"]
        node = node or f"node-{(number + k - 1) % 2}"
        return {"Name": name, "ID": f"{name}-{k}", "Address": "127.0.0.1", "Port": BACKENDS[k - 1], "Tags": tags, "Node": node}

    def put(self, command, body=None):
        c = http.client.HTTPConnection(self.commands, timeout=10)
        c.request("PUT", f"/_fake/{command}", body=json.dumps(body) if body is not None else b"")
        r = c.getresponse()
        text = r.read()
        assert r.status == 200, (command, text)
        return json.loads(text)

    def figures(self):
        c = http.client.HTTPConnection(self.commands, timeout=10)
        c.request("GET", "/_fake/figures")
        return json.loads(c.getresponse().read())

    def requests(self):
        return sum(self.figures()["requests"].values())

    def start(self):
        if A.traefik:
            file = pathlib.Path(self.folder.name) / "traefik.yml"
            file.write_text(
                f'entryPoints: {{f: {{address: "127.0.0.1:{self.port}"}}}}\nlog: {{level: INFO}}\n'
                "global: {checkNewVersion: false, sendAnonymousUsage: false}\nproviders:\n  consulCatalog: {watch: true, exposedByDefault: false, "
                f'defaultRule: "PathPrefix(`/api/{{{{ .Name }}}}`)", endpoint: {{address: "{self.agent}"}}}}\n'
            )
            command = [A.traefik, f"--configFile={file}"]
        elif A.lictor:
            file, key = pathlib.Path(self.folder.name) / "lictor.toml", hashlib.sha256(KEY.encode()).hexdigest()
            file.write_text(
                f'[[listener]]\naddress = "127.0.0.1:{self.port}"\n[admin]\naddress = "127.0.0.1:{free()}"\n[consul]\naddress = "http://{self.agent}"\n'
                f'allow_loopback = true\n{self.more}\n[[consumer]]\nname = "clients"\nkeys = ["sha256:{key}"]\n[log]\naccess = false\n'
            )
            command = [A.lictor, "run", "--config", str(file)]
        else:
            command = [A.fabio, "-proxy.addr", f"127.0.0.1:{self.port}", "-registry.consul.addr", self.agent]
            command += ["-registry.consul.register.enabled=false", "-ui.addr", f"127.0.0.1:{free()}"]
        self.peer = subprocess.Popen(command, stdout=self.log.open("w"), stderr=subprocess.STDOUT)

    def ask(self, name):
        try:
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=3)
            c.request("GET", f"/api/{name}/users", headers={"X-API-Key": KEY})
            r = c.getresponse()
            r.read()
            c.close()
            return r.status
        except OSError:
            return 0

    def until(self, name, wanted, patience=PATIENCE):
        """Seconds until a service is served, or no longer; None: never."""
        begun = time.time()
        while time.time() - begun < patience:
            if (self.ask(name) == 200) == wanted:
                return time.time() - begun
            time.sleep(0.02)
        return None

    def ready(self):
        self.start()
        for name in self.names:
            if self.until(name, True) is None:
                raise SystemExit(f"never ready: {name}: {self.log.read_text()[-600:]}")
        time.sleep(3)  # Traefik may still be throttling what it heard

    def load(self, names=None):
        self.bad, self.good, self.lost, self.asking = {}, 0, 0, True

        def loop():
            while self.asking:
                for name in names or self.names:
                    status = self.ask(name)
                    if status == 200:
                        self.good += 1
                    else:
                        self.lost += 1
                        self.bad.setdefault(name, set()).add(status)
                time.sleep(0.02)

        self.thread = threading.Thread(target=loop, daemon=True)
        self.thread.start()

    def unload(self):
        self.asking = False
        self.thread.join(10)
        if self.lost and 100 * self.lost < self.lost + self.good:
            return f"{self.lost} of {self.lost + self.good} requests lost"
        return "kept" if not self.bad else f"lost {len(self.bad)} of {len(self.names)}"

    def later(self, name="later"):
        self.put("register", [self.instance(name, 1)])
        took = self.until(name, True)
        return "never" if took is None else f"+{took:.1f} s"

    def gone(self, name):
        took = self.until(name, False)
        return "never gone" if took is None else f"gone after {took:.1f} s"

    def close(self):
        self.asking = False
        if self.peer:
            self.peer.kill()
            self.peer.wait()
        self.fake.stdin.close()
        self.fake.wait(10)
        self.folder.cleanup()


def rule(fault, value=None, path="/v1/", **more):
    return {"path": path, "fault": fault, "value": value, **more}


def lasting(*rules, services=3, during=False, version=None):
    """A fault that lasts, on all or some requests."""

    def run():
        stand = Stand(services, version=version)
        try:
            stand.ready()
            stand.load()
            for each in rules:
                stand.put("fail", each)
            stand.put("touch")
            if during:
                time.sleep(1)
                before = stand.requests()
                time.sleep(3)
                pace = (stand.requests() - before) / 3
                heard = stand.later()
                time.sleep(WINDOW / 2)
                return f"{stand.unload()}; {heard}" + (f"; {pace:.0f} requests/s" if pace > 50 else "")
            time.sleep(WINDOW)
            said = stand.unload()
            stand.put("heal")
            stand.put("touch")
            return f"{said}; {stand.later()}"
        finally:
            stand.close()

    return run


def change(do, watched=None, gone=None, services=10, extra=()):
    """A change of the catalog: what becomes of those who should stay, and how soon goes who should go."""

    def run():
        stand = Stand(services)
        try:
            stand.put("register", [stand.instance(name, 1, node) for name, node in extra])
            stand.ready()
            for name, _ in extra:
                stand.until(name, True)
            stand.names = watched or stand.names
            stand.load()
            do(stand)
            said = stand.gone(gone) if gone else None
            time.sleep(WINDOW)
            kept = stand.unload()
            return f"{said}; others {kept}" if said else kept
        finally:
            stand.close()

    return run


def dies(forget=False, rewind=False, pause=3, disconnect=False):
    def run():
        stand = Stand(3)
        try:
            stand.ready()
            stand.load()
            if not disconnect:
                stand.put("kill")
                time.sleep(pause)
            if forget:
                stand.put("forget")
            if rewind:
                stand.put("rewind", 5)
            stand.put("disconnect" if disconnect else "revive")
            time.sleep(WINDOW)
            said = stand.unload()
            return f"{said}; {stand.later()}"
        finally:
            stand.close()

    return run


def at_start(silent):
    def run():
        stand = Stand(3, before=[rule("silent")] if silent else ())
        try:
            if not silent:
                stand.put("kill")
            stand.start()
            time.sleep(2)
            stand.put("heal")
            stand.put("revive")
            took = stand.until("s0", True, 60)
            return "no answer within 60 s" if took is None else f"first answer after {took:.1f} s"
        finally:
            stand.close()

    return run


def silence():
    stand = Stand(3)
    try:
        stand.ready()
        stand.load()
        stand.put("fail", rule("silent"))
        stand.put("touch")
        time.sleep(WINDOW)
        said = stand.unload()
        stand.put("heal")
        stand.put("disconnect")
        return f"{said}; {stand.later()}"
    finally:
        stand.close()


def trickle():
    stand = Stand(3)
    try:
        stand.ready()
        stand.load()
        stand.put("fail", rule("trickle"))
        stand.put("touch")
        time.sleep(WINDOW)
        said = stand.unload()
        stand.put("heal")
        return f"{said}; {stand.later()}"
    finally:
        stand.close()


def scaled():
    stand = Stand(3)
    try:
        servers = [backend() for _ in range(20)]
        fleet = [{**stand.instance("big", 1, "node-0"), "ID": f"big-{k}", "Port": port} for k, port in enumerate(servers)]
        stand.put("register", fleet)
        stand.ready()
        stand.until("big", True)
        stand.names.append("big")
        stand.load()
        stand.put("deregister", [f"big-{k}" for k in range(19)])
        time.sleep(WINDOW)
        return stand.unload()
    finally:
        stand.close()


def connections():
    stand = Stand(30, more="connections = 8")
    try:
        stand.ready()
        stand.put("disconnect")
        time.sleep(WINDOW)
        return f"{stand.figures()['connections']['most']} connections at most"
    finally:
        stand.close()


def log():
    stand = Stand(5)
    try:
        stand.ready()
        before = stand.log.stat().st_size
        stand.put("fail", rule("status", 500))
        stand.put("touch")
        time.sleep(20)
        text = stand.log.read_text()[before:]
        return f"lines in 20 s: {text.count(chr(10))}"
    finally:
        stand.close()


def ids(services, k):
    return [f"s{n}-{i}" for n in services for i in k]


MORE = [("a", "node-2"), ("b", "node-2"), ("c", "node-2")]
LEADER, CONTACT = ("X-Consul-Knownleader", "false"), ("X-Consul-Lastcontact", "6000")
# Only who asks for stale reads meets a server that lags behind.
doubt = lambda name, value: lasting(
    rule("without", ["s0", "s0-1", "s0-2"], asked="stale"), rule("header", value, name=name, asked="stale"), during=True
) if A.lictor else lambda: "-"
garbage = lambda text: lasting(rule("body", text))
ROWS = {
    "an_index_that_goes_back_is_forgotten": lasting(rule("index", 3), during=True),
    "an_index_of_zero_is_never_asked_with_in_a_loop": lasting(rule("index", 0), during=True),
    "an_index_that_is_missing_is_done_without": lasting(rule("index"), during=True),
    "queries_that_return_at_once_without_news_are_no_busy_loop": lasting(rule("at_once"), during=True),
    "a_query_that_is_cut_while_it_waits_is_no_error": lasting(rule("cut_waiting", 300), during=True),
    "an_agent_with_its_memory_but_low_indexes_is_heard_at_once": dies(rewind=True),
    "an_agent_that_answers_429_is_waited_for": lasting(rule("status", 429)),
    "an_agent_that_answers_500_or_503_is_waited_for": lasting(rule("status", 500)),
    "a_token_that_was_deleted_takes_nothing_with_it": lasting(rule("status", 403)),
    "an_agent_that_knows_no_path_takes_nothing_with_it": lasting(rule("status", 404)),
    "an_agent_that_redirects_is_not_followed_elsewhere": lasting(rule("status", 301), rule("header", "http://127.0.0.1:9/", name="Location")),
    "an_agent_that_resets_or_closes_instead_of_answering_is_waited_for": lasting(rule("reset")),
    "garbage_is_no_catalog": garbage("<html><h1>It works!</h1></html>"),
    "json_of_another_type_is_no_empty_catalog": garbage("null"),
    "a_body_that_stops_before_its_end_is_no_answer": lasting(rule("truncated")),
    "an_enormous_answer_is_given_up": lasting(rule("enormous", 80)),
    "answers_that_come_a_second_late_are_answers": lasting(rule("late", 1000), during=True),
    "a_body_that_never_ends_has_a_deadline": trickle,
    "an_agent_that_falls_silent_is_waited_for": silence,
    "an_agent_that_hangs_at_the_start_delays_by_seconds_only": at_start(True),
    "a_read_that_fails_concerns_its_service_only": lasting(rule("status", 500, path="/v1/health/service/s0"), rule("status", 500, path="/v1/catalog/service/s0"), during=True),
    "a_service_that_the_token_may_not_read_keeps_its_instances": lasting(rule("status", 403, path="/v1/health/service/s0"), rule("status", 403, path="/v1/catalog/service/s0"), during=True),
    "an_answer_that_is_not_understood_concerns_its_service_only": lasting(rule("body", '{"Node": null}', path="/v1/health/service/s0"), rule("body", '{"Node": null}', path="/v1/catalog/service/s0"), during=True),
    "what_vanishes_without_a_known_leader_is_asked_of_the_leader": doubt(*LEADER),
    "what_vanishes_from_an_old_answer_is_asked_of_the_leader": doubt(*CONTACT),
    "what_vanishes_while_nobody_leads_stays": lasting(rule("empty", asked="stale"), rule("header", "false", name=LEADER[0]), rule("status", 500, asked="leader")),
    "a_streamed_answer_without_anything_is_read_again": lasting(rule("empty", path="/v1/health/service/s", asked="again"), version="streaming", during=True),
    "what_the_token_is_said_not_to_see_is_held": lasting(rule("without", ["s0-1", "s0-2", "service:s0-1", "service:s0-2"]), version="filtering", during=True),
    "a_token_that_sees_nothing_any_longer_takes_nothing_with_it": lasting(rule("empty")),
    "a_token_that_no_longer_sees_consul_takes_nothing_with_it": lasting(rule("without", ["consul", "s0", "s0-1", "s0-2"]), during=True),
    "half_of_the_services_missing_from_one_answer_are_held": change(lambda s: s.put("deregister", ids(range(5), (1, 2)))),
    "half_of_the_instances_of_all_services_are_held": change(lambda s: s.put("deregister", ids(range(10), (2,)))),
    "a_node_that_loses_all_that_it_carried_while_it_stays_is_doubted": change(lambda s: s.put("deregister", ["a-1", "b-1", "c-1"]), watched=["a", "b", "c"], services=20, extra=MORE),
    "a_node_that_leaves_with_all_that_it_carried_is_believed": change(lambda s: s.put("leave", "node-2"), gone="a", services=20, extra=MORE),
    "a_node_that_gossip_calls_dead_is_doubted_where_it_carried_many": change(lambda s: s.put("serf", {"nodes": ["node-0", "node-1"], "status": "critical"})),
    "critical_checks_of_services_are_obeyed_however_many_they_are": change(lambda s: s.put("check", {"ids": ids(range(9), (1, 2)), "status": "critical"}), watched=["s9"], gone="s0"),
    "one_instance_that_deregisters_goes_at_once": change(lambda s: s.put("deregister", ["s0-1"]), services=3),
    "the_last_instance_of_a_service_goes_at_once": change(lambda s: s.put("deregister", ["s2-1", "s2-2"]), watched=["s0", "s1"], gone="s2", services=3),
    "one_service_is_scaled_from_twenty_to_one_at_once": scaled,
    "an_agent_that_is_killed_takes_nothing_with_it": dies(),
    "an_agent_that_comes_back_without_its_memory_takes_nothing_with_it": dies(forget=True),
    "an_agent_that_loses_its_memory_while_it_is_heard_takes_nothing_with_it": dies(forget=True, disconnect=True),
    "an_agent_that_comes_late_is_heard_when_it_comes": at_start(False),
    "there_are_never_more_connections_than_the_budget_allows": connections,
    "a_fault_that_lasts_is_logged_once": log,
}



def write(said):
    """Fills a column of the table, whose rows have the order of the tests in table.rs."""
    root = pathlib.Path(__file__).resolve().parents[2]
    readme, table = root / "consul/README.md", root / "integration/tests/all/enduring/table.rs"
    tests = re.findall(r'\(\s*"([a-z0-9_]+)",\s*"[^"]*",\s*"[^"]*",?\s*\)', table.read_text())
    column = 3 if A.lictor else 4 if A.traefik else 5
    lines = readme.read_text().split("\n")
    first = next(n for n, line in enumerate(lines) if line.startswith("| fault | must |")) + 2
    for n, test in enumerate(tests, first):
        cells = lines[n].split("|")
        if test in said:
            cells[column] = f" {said[test]} "
        lines[n] = "|".join(cells)
    readme.write_text("\n".join(lines))


if not (A.traefik or A.fabio or A.lictor):
    sys.exit("--traefik, --fabio or --lictor")
said = {}
if A.earlier:
    said = dict(line.split("\t") for line in pathlib.Path(A.earlier).read_text().splitlines())
for name, run in ROWS.items():
    if not A.earlier and (not A.rows or name in A.rows.split(",")):
        try:
            said[name] = run()
        except (Exception, SystemExit) as why:
            said[name] = f"? {why}"
        print(name, said[name], sep="\t", flush=True)
if A.write:
    write(said)
