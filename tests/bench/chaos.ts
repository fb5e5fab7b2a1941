/**
 * `deno task chaos`: mixed traffic through relay and agents, while every program is killed and
 * frozen at random. Every answer is checked to its last byte. See `--help`.
 */
import { main } from "./soak/run.ts";

const HELP = `Usage: deno task chaos [options]

Sends mixed traffic (echo, downloads, uploads with a length and in chunks, server-sent events,
WebSockets, aborted requests) through a relay, three agents and two sample targets, all on loopback.
One after the other, at random, relay, agents and targets are killed (SIGKILL, started again),
frozen (SIGSTOP, then SIGCONT) or stopped (SIGTERM, started again). Every answer is checked to its
last byte.

Options:
  --minutes N          How long traffic is sent (default 10; fractions are fine)
  --seed N             Seed of what is sent and what happens (default: random, printed)
  --callers N          Callers at the same time (default 8)
  --every S            Mean seconds between two disturbances (default 3)
  --max-freeze S       The longest freeze in seconds (default 14)
  --log FILE           Where relay and agents log, at level info (default: a temporary file, which
                       is kept when the run fails)
  --help               Print this text

A request that fails with 502, 503, 504 or a broken connection while something of its cluster is
disturbed "failed cleanly"; with nothing near it is "lost". A wrong byte or status, a cut body that
looks whole, or no end within a minute is "wrong". Progress goes to standard error, the result to
standard output. Exit code: 0 when nothing was lost or wrong and requests passed again within 20 s
of the end of each disturbance, 1 when not, 2 for a wrong option.`;

// After an interrupt, a WebSocket that still waits for the end of a killed peer keeps nothing up.
Deno.exit(
  await main({
    name: "chaos",
    help: HELP,
    callers: "8",
    every: "3",
    maxFreeze: "14",
    plan: {
      withTwoAgents: ["restless"],
      lasting: [],
      troubles: [{
        subjects: [
          "relay",
          "steady agent",
          "steady target",
          "restless agent",
          "restless second agent",
          "restless target",
        ],
        actions: ["killed", "killed", "frozen", "frozen", "stopped"],
      }],
    },
  }, Deno.args),
);
