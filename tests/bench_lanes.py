"""What tests/bench runs between a generator and a sink: Postern, its peers, and nothing at all."""
import json, os, pwd, shutil, signal, socket, subprocess, time

CACHE = os.environ.get("POSTERN_CACHE", os.path.expanduser("~/.cache/postern-tests"))
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SMTP_LOAD = os.environ.get("SMTP_LOAD_BIN", f"{TOP}/target/release/smtp-load")
SIZE, SESSIONS = 10_240, 20
LARGE, LARGE_COUNT = 50 << 20, 4  # octets of a large message, messages per round
START_LIMIT = 30  # seconds until a lane listens
LOAD_LIMIT = 120  # seconds for one load
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


class Lane:
    """A proxy between generator and sink. `start` answers the command; none means that there is no proxy."""

    name = "direct"
    process = None
    share = 1.0  # of the messages per round: a slow lane gets fewer
    kinds = ("new", "kept")
    start_limit = START_LIMIT

    def missing(self):
        return None

    def command(self, folder, port, sink):
        return None

    def run(self, folder, sink):
        os.makedirs(folder, exist_ok=True)
        os.chmod(folder, 0o755)
        self.port, self.process = sink, None
        port = free_port()
        command = self.command(folder, port, sink)
        if command is None:
            return
        self.port = port
        self.log = os.path.join(folder, "output")
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=folder
            )
        self.wait_until_it_listens()

    def wait_until_it_listens(self):
        end = time.monotonic() + self.start_limit
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.05)
        with open(self.log) as log:
            raise SystemExit(f"{self.name} does not listen:\n{log.read()[-4000:]}")

    def stop(self):
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def tree(self):
        """The fields of /proc/PID/stat behind the name, by process of the lane."""
        if self.process is None:
            return {}
        stats = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as file:
                    stats[int(pid)] = file.read().rpartition(")")[2].split()
            except OSError:
                pass
        found, wanted = {}, [self.process.pid]
        while wanted:
            pid = wanted.pop()
            if pid in stats:
                found[pid] = stats[pid]
                wanted += [child for child, fields in stats.items() if int(fields[1]) == pid]
        return found

    def cpu(self):
        """Seconds used so far; children that ended are in the last two of these fields of their parent."""
        return sum(sum(map(int, fields[11:15])) for fields in self.tree().values()) / TICKS

    def pids(self):
        return list(self.tree())

    def rss(self):
        return sum(int(fields[21]) for fields in self.tree().values()) * PAGE

    def warm_up(self):
        load(self.port, "new", 100)

    def measure(self, kind, chosen):
        messages = max(SESSIONS, int(chosen.messages * self.share))
        before = self.cpu()
        seconds = load(self.port, kind, messages)
        cpu = self.cpu() - before
        return {
            "rate": messages / seconds,
            "cpu_us": cpu / messages * 1e6,
            "rss_mib": self.rss() / 2**20,
            "latency_ms": probe(self.port, kind, chosen.probes),
        }


class Haproxy(Lane):
    name = "haproxy"

    def missing(self):
        return None if shutil.which("haproxy") else "haproxy is not installed"

    def command(self, folder, port, sink):
        config = write(f"{folder}/haproxy.cfg", f"""\
global
    maxconn 2000
defaults
    mode tcp
    timeout connect 10s
    timeout client 5m
    timeout server 5m
listen smtp
    bind 127.0.0.1:{port}
    server sink 127.0.0.1:{sink}
""")
        return [shutil.which("haproxy"), "-db", "-f", config]


class Postfix(Lane):
    name = "postfix"

    def missing(self):
        if os.geteuid() != 0:
            return "Postfix starts as root only"
        return None if os.path.exists("/usr/lib/postfix/sbin/master") else "postfix is not installed"

    def command(self, folder, port, sink):
        daemons, config = "/usr/lib/postfix/sbin", f"{folder}/conf"
        write(f"{config}/main.cf", f"""\
compatibility_level = 3.6
queue_directory = {folder}/spool
data_directory = {folder}/data
daemon_directory = {daemons}
command_directory = /usr/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = {folder}/log
maillog_file_prefixes = {folder}
myhostname = postfix.test
mydestination =
mynetworks = 127.0.0.0/8
alias_maps =
default_process_limit = 200
smtpd_proxy_filter = 127.0.0.1:{sink}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
""")
        write(f"{config}/master.cf", f"""\
127.0.0.1:{port} inet n - n - - smtpd
rewrite unix - - n - - trivial-rewrite
cleanup unix n - n - 0 cleanup
proxymap unix - - n - - proxymap
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
""")
        os.makedirs(f"{folder}/spool")
        os.makedirs(f"{folder}/data")
        owner = pwd.getpwnam("postfix")
        os.chown(f"{folder}/data", owner.pw_uid, owner.pw_gid)
        subprocess.run(["postfix", "-c", config, "check"], check=True, stdin=subprocess.DEVNULL)
        return [f"{daemons}/master", "-d", "-c", config]


class Haraka(Lane):
    name = "haraka"
    share = 0.2
    program = f"{CACHE}/node/haraka/node_modules/.bin/haraka"

    def missing(self):
        return None if os.path.exists(self.program) else f"no {self.program}: run tests/packages"

    def command(self, folder, port, sink):
        # Haraka does not start a session without the files that its own installer would copy.
        own = f"{CACHE}/node/haraka/node_modules/Haraka/config"
        shutil.copytree(own, f"{folder}/config")
        for name, text in {
            "smtp.ini": f"listen=127.0.0.1:{port}\nnodes=0\n",
            "plugins": "rcpt_to.in_host_list\nqueue/smtp_forward\n",
            "host_list": "bench.test\n",
            "smtp_forward.ini": f"host=127.0.0.1\nport={sink}\nenable_outbound=false\n",
            "me": "haraka.test\n",
            "loglevel": "ERROR\n",
            "databytes": "100000000\n",
        }.items():
            write(f"{folder}/config/{name}", text)
        return [self.program, "-c", folder]


class Postern(Lane):
    name = "postern"
    tls = "off"
    client_address = "none"

    def __init__(self):
        self.program = os.environ.get("POSTERN_BIN", f"{TOP}/target/release/postern")

    def missing(self):
        return None if os.path.exists(self.program) else f"no {self.program}: cargo build --release"

    def command(self, folder, port, sink):
        config = write(f"{folder}/postern.toml", f"""\
hostname = "postern.test"
state_dir = "{folder}/state"
[[listener]]
address = "127.0.0.1:{port}"
protocol = "smtp"
[[backend]]
domains = ["bench.test"]
servers = ["127.0.0.1:{sink}"]
tls = "{self.tls}"
client_address = "{self.client_address}"
[judge]
enabled = false
[acme]
enabled = false
[http]
plain = ""
tls = ""
[admin]
listen = "127.0.0.1:{free_port()}"
[limits]
sessions_per_ip = 1000
message_size = "64MiB"
""")
        os.makedirs(f"{folder}/state")
        return [self.program, "--config", config, "run"]


def load(port, kind, messages):
    """Seconds for that many messages."""
    command = [shutil.which("smtp-source") or "/usr/sbin/smtp-source", "-m", str(messages), "-s", str(SESSIONS)]
    command += ["-l", str(SIZE), "-f", "a@source.test", "-t", "b@bench.test"] + (["-d"] if kind == "kept" else [])
    begun = time.monotonic()
    ended = subprocess.run(
        command + [f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LOAD_LIMIT
    )
    if ended.returncode != 0 or "fatal" in ended.stderr:
        raise SystemExit(f"smtp-source: {ended.stdout}{ended.stderr}")
    return time.monotonic() - begun


class Prober:
    """One session at a time, every reply waited for: what one message costs in time when nothing else runs."""

    line = b"x" * 78 + b"\r\n"
    message = b"Subject: probe\r\n\r\n" + line * (SIZE // len(line)) + b".\r\n"

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.replies = self.socket.makefile("rb")

    def reply(self, wanted):
        while True:
            line = self.replies.readline()
            if line[3:4] != b"-":
                break
        if not line.startswith(wanted):
            raise SystemExit(f"the prober wanted {wanted}, got {line}")

    def say(self, text, wanted):
        self.socket.sendall(text)
        self.reply(wanted)

    def open(self):
        self.reply(b"2")
        self.say(b"EHLO source.test\r\n", b"2")

    def transaction(self):
        self.say(b"MAIL FROM:<a@source.test>\r\n", b"2")
        self.say(b"RCPT TO:<b@bench.test>\r\n", b"2")
        self.say(b"DATA\r\n", b"3")
        self.say(self.message, b"2")

    def close(self):
        self.say(b"QUIT\r\n", b"2")
        self.socket.close()


def probe(port, kind, count):
    """Milliseconds of each message: the whole session, or one transaction of a kept one."""
    times, kept = [], None
    for _ in range(count):
        begun = time.perf_counter()
        if kind == "new":
            one = Prober(port)
            one.open()
            one.transaction()
            one.close()
        else:
            if kept is None:
                kept = Prober(port)
                kept.open()
                begun = time.perf_counter()
            kept.transaction()
        times.append((time.perf_counter() - begun) * 1000)
    if kept:
        kept.close()
    return times


def start_sink():
    port = free_port()
    command = [shutil.which("smtp-sink") or "/usr/sbin/smtp-sink"]
    command += (["-u", "nobody"] if os.geteuid() == 0 else []) + [f"127.0.0.1:{port}", "1000"]
    sink = Lane()
    sink.name, sink.port, sink.log = "smtp-sink", port, os.devnull
    sink.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    sink.wait_until_it_listens()
    return sink


def smtp_load(*arguments):
    """What it says. It ends with an error when a message was not taken."""
    ended = subprocess.run(
        [SMTP_LOAD, *map(str, arguments)], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LOAD_LIMIT
    )
    if ended.returncode != 0:
        raise SystemExit(f"smtp-load {' '.join(map(str, arguments))}: {ended.stderr}")
    return json.loads(ended.stdout)


class TlsSink:
    """A sink that counts; it ends with its standard input."""

    def __init__(self, options):
        command = [SMTP_LOAD, "sink", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(json.loads(self.process.stdout.readline())["address"].rpartition(":")[2])

    def counts(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()


class StartTls(Postern):
    """Postern between TLS on both sides, with a sink of its own."""

    name = "starttls"
    kinds = ("starttls",)
    tls = "encrypt"
    sink_options = ()

    def __init__(self):
        super().__init__()
        self.sink, self.process, self.sent = None, None, 0

    def missing(self):
        return super().missing() or needs_smtp_load()

    def run(self, folder, sink):
        self.sink = TlsSink(self.sink_options)
        super().run(folder, self.sink.port)

    def stop(self):
        super().stop()
        if self.sink:
            self.sink.stop()

    def send(self, messages, sessions, size):
        """Sends; what the sink counted meanwhile must be just that. Seconds, and full handshakes that the sink saw."""
        before = self.sink.counts()
        done = smtp_load("send", "--to", f"127.0.0.1:{self.port}", "--messages", messages, "--sessions", sessions,
                         "--size", size, "--first", self.sent)
        self.sent += messages
        after = self.sink.counts()
        came = {key: after[key] - before[key] for key in after if key != "reason"}
        if came["messages"] != messages or came["damaged"] or came["repeated"] or came["broken"] or came["resumed"]:
            raise SystemExit(f"{self.name}: {messages} messages were sent, the sink counted {came} {after['reason']}")
        return done["seconds"], came["full"]

    def warm_up(self):
        self.send(200, SESSIONS, SIZE)

    def measure(self, kind, chosen):
        before = self.cpu()
        seconds, handshakes = self.send(chosen.messages, SESSIONS, SIZE)
        cpu, inward = (self.cpu() - before) / chosen.messages * 1e6, handshakes / chosen.messages
        floor = smtp_load("floor", "handshakes")
        server, client = floor["server_us"], floor["client_us"]
        return {
            "rate": chosen.messages / seconds,
            "cpu_us": cpu,
            "inward": inward,
            "server_us": server,
            "client_us": client,
            "floor_us": server + client,
            "share": (server + client) / cpu if cpu else 0.0,
            "real_share": (server + inward * client) / cpu if cpu else 0.0,
            "rss_mib": self.rss() / 2**20,
        }


class StartTlsDirect(StartTls):
    name = "starttls-direct"

    def missing(self):
        return needs_smtp_load()

    def command(self, folder, port, sink):
        return None


class StartTlsOwn(StartTls):
    name = "starttls-own"
    client_address = "proxy"
    sink_options = ("--proxy",)


class Large(StartTls):
    name = "large"
    kinds = ("large",)
    at_rest = None

    def status(self, field):
        """Octets, of all processes of the lane."""
        total = 0
        for pid in self.pids():
            with open(f"/proc/{pid}/status") as file:
                total += sum(int(line.split()[1]) * 1024 for line in file if line.startswith(field))
        return total

    def measure(self, kind, chosen):
        if self.at_rest is None:
            self.at_rest = self.status("VmRSS:")
        for pid in self.pids():
            write(f"/proc/{pid}/clear_refs", "5")  # VmHWM begins anew
        before = self.cpu()
        seconds, _ = self.send(LARGE_COUNT, 1, LARGE)
        cpu = (self.cpu() - before) / LARGE_COUNT * 1e3
        floor = smtp_load("floor", "records", "--size", LARGE)
        memory = (floor["decrypt_us"] + floor["encrypt_us"]) / 1e3
        peak = self.status("VmHWM:")
        return {
            "rate": LARGE_COUNT / seconds,
            "cpu_us": cpu * 1e3,
            "cpu_ms": cpu,
            "memory_ms": memory,
            "times": cpu / memory,
            "rss_mib": self.at_rest / 2**20,
            "peak_mib": peak / 2**20,
            "growth_mib": (peak - self.at_rest) / 2**20,
        }


class LargeBdat(Large):
    name = "large-bdat"
    sink_options = ("--chunking",)


def needs_smtp_load():
    here = os.path.exists(SMTP_LOAD)
    return None if here else f"no {SMTP_LOAD}: cargo build --release -p postern-tests --bin smtp-load"


CLEAR = (Lane, Haproxy, Postfix, Haraka, Postern)
LANES = {lane.name: lane for lane in CLEAR + (StartTlsDirect, StartTls, StartTlsOwn, Large, LargeBdat)}
QUICK = "direct,haproxy,postern,starttls,large"
