"""What can be wrong, and what to do about it: the sentences of `headrace doctor` and of docs/troubleshooting.md."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`name`: a word for scripts, which never changes. `wrong`: what it is. `mend`: what to do. `warns`: Headrace works all the
    same."""

    name: str
    wrong: str
    mend: str
    warns: bool = False


_ALL = (
    Problem(
        "wrong-setting",
        "a setting has a value that it cannot have",
        "Correct the variable that the message names; `headrace settings` says which values it takes.",
    ),
    Problem(
        "unknown-setting",
        "a variable begins with HEADRACE_ and is no setting",
        "Correct its name, or remove it; `headrace settings` lists all.",
        warns=True,
    ),
    Problem(
        "data-directory",
        "the data directory cannot be written",
        "Give the directory to the user that runs Headrace (`chown`), or name another directory with HEADRACE_DATA_DIR.",
    ),
    Problem(
        "disk-full",
        "the disk of the queue has fewer bytes free than HEADRACE_MIN_FREE_BYTES",
        "Free space on it, or move HEADRACE_DATA_DIR to another disk. Until then requests are answered 503.",
    ),
    Problem(
        "disk-slow",
        "the disk of the queue is slow to make a write durable",
        "Each answer 200 waits for one such write. Move HEADRACE_DATA_DIR to a local SSD.",
        warns=True,
    ),
    Problem(
        "few-files",
        "the process may open fewer files than HEADRACE_MAX_CONNECTIONS needs",
        "Raise the hard limit: `ulimit -n 65536`, LimitNOFILE= in a systemd unit, `ulimits:` in a compose file.",
        warns=True,
    ),
    Problem(
        "keys-unreadable",
        "the file of API keys is missing or cannot be read",
        "Make the first key with `headrace keys add NAME`, and let the user that runs Headrace read the file.",
    ),
    Problem(
        "keys-expired",
        "every API key has expired",
        "Make a new one with `headrace keys add NAME`. Until then every request is answered 401.",
    ),
    Problem(
        "key-expires",
        "an API key has expired, or expires within 14 days",
        "Make a new one with `headrace keys add NAME`, and give it to the senders. "
        "Then revoke the old one: `headrace keys revoke`.",
        warns=True,
    ),
    Problem(
        "open-to-all",
        "anybody who reaches the address may write",
        "Ask for keys (`headrace keys add NAME`, HEADRACE_API_KEYS) or for certificates "
        "(HEADRACE_TLS_CLIENT_CA); if everybody there is meant to write, set HEADRACE_TRUSTED_NETWORK=true.",
        warns=True,
    ),
    Problem(
        "tls-unusable",
        "the files of HEADRACE_TLS_CERT and HEADRACE_TLS_KEY cannot be used",
        "Name two PEM files: the certificate with its chain, and its own private key, without a password.",
    ),
    Problem(
        "tls-expired",
        "the certificate is not valid now",
        "Renew it. Headrace reads the files again by itself, without a restart.",
    ),
    Problem(
        "tls-expires",
        "the certificate expires within 14 days",
        "Renew it. Headrace reads the files again by itself, without a restart.",
        warns=True,
    ),
    Problem(
        "not-running",
        "nothing answers on the port of OTLP/HTTP",
        "Start Headrace: `headrace up`, or `headrace serve` on an MLflow database. If it "
        "runs with other settings, run the doctor with the same ones.",
    ),
    Problem(
        "other-program",
        "another program answers on a port of Headrace",
        "Stop that program, or choose another port with HEADRACE_HTTP_PORT or HEADRACE_GRPC_PORT, and tell the senders.",
    ),
    Problem(
        "not-ready",
        "Headrace runs and takes no requests",
        "The message says what is missing. If the queue is full, see what the checks of Postgres say.",
    ),
    Problem(
        "waits",
        "Headrace takes requests and cannot write them yet",
        "Nothing is lost meanwhile. The message says what Headrace waits for. If "
        "it waits for MLflow's server, start that once.",
        warns=True,
    ),
    Problem(
        "grpc-silent",
        "nothing speaks gRPC on its port",
        "Look for `grpc` in the log of Headrace, and compare HEADRACE_GRPC_PORT with that of the process that runs.",
    ),
    Problem(
        "backlog",
        "the oldest request in the queue has waited for more than a minute",
        "If a check of Postgres fails, mend that. Else more is received than "
        "written: raise HEADRACE_WORKERS, see docs/operations.md.",
        warns=True,
    ),
    Problem(
        "queue-damaged",
        "a part of the queue was damaged and moved aside",
        "`headrace queue verify` says what is in it; docs/operations.md says what to do.",
        warns=True,
    ),
    Problem(
        "no-database",
        "no database is named",
        "Set HEADRACE_DATABASE_URL to MLflow's Postgres, "
        "`postgresql://user:password@host:5432/db`, or run `headrace up`, which brings one.",
    ),
    Problem(
        "database-away",
        "Postgres does not answer",
        "Start it, and check host and port in HEADRACE_DATABASE_URL. What is accepted meanwhile waits in the queue.",
    ),
    Problem(
        "database-refuses",
        "Postgres does not let Headrace in, or denies it a right",
        "Run the statements that the message names, as the owner of the database.",
    ),
    Problem(
        "no-tables",
        "the database has no tables of MLflow",
        "Start `mlflow server` on it once, or run `mlflow db upgrade URL`; or name MLflow's database in HEADRACE_DATABASE_URL.",
    ),
    Problem(
        "other-tables",
        "MLflow's tables are of a shape that the bulk writer does not know",
        "Headrace writes through MLflow's own store if that is possible. This is many times slower. See docs/compatibility.md.",
        warns=True,
    ),
    Problem(
        "clock",
        "the clocks of this machine and of Postgres differ",
        "Synchronize both with NTP: traces are searched by time, and keys expire at a time.",
        warns=True,
    ),
    Problem(
        "dead-letters",
        "spans could not be written and are kept as dead letters",
        "`headrace dead-letters list` says why; `headrace dead-letters replay --all` writes them once the cause is mended.",
        warns=True,
    ),
    Problem(
        "mlflow-away",
        "no MLflow answers where the traces are to be read",
        "Start `mlflow server` on the same database, or name its URL in HEADRACE_MLFLOW_URL. Spans are taken all the same.",
    ),
    Problem(
        "probe-refused",
        "the receiver refused the probe span",
        "The message is what every sender is told. Try another experiment or key: "
        "`--experiment-id` and `--api-key` of the doctor.",
    ),
    Problem(
        "probe-not-seen",
        "the probe span was accepted, and MLflow does not show it",
        "If no check above failed, MLflow reads another database than Headrace writes: "
        "compare its --backend-store-uri with HEADRACE_DATABASE_URL.",
    ),
)

PROBLEMS = {problem.name: problem for problem in _ALL}
