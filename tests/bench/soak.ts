/**
 * `deno task soak`: mixed traffic through relay and agents for minutes or hours, while agents and
 * targets restart. Every answer is checked to its last byte. See `--help`.
 */
import { main } from "./soak/run.ts";

const HELP = `Usage: deno task soak [options]

Sends mixed traffic (echo, downloads, uploads with a length and in chunks, server-sent events,
WebSockets, aborted requests) through a relay and two agents to the sample target, all on loopback,
while a target and an agent restart at random intervals, in good order and by SIGKILL. Every answer
is checked to its last byte.

Options:
  --minutes N          How long traffic is sent (default 10; fractions are fine)
  --seed N             Seed of what is sent and when things restart (default: random, printed)
  --callers N          Callers at the same time (default 12)
  --every S            Mean seconds between two restarts in each cluster (default 15)
  --log FILE           Where relay and agents log, at level info (default: a temporary file, which
                       is kept when the run fails)
  --help               Print this text

A request that fails with 502, 503, 504 or a broken connection while something restarts "failed
cleanly"; with no restart near it is "lost". A wrong byte or status, a cut body that looks whole,
or no end within a minute is "wrong". Progress goes to standard error, the result to standard output.
Exit code: 0 when nothing was lost or wrong, 1 when something was, 2 for a wrong option.`;

// After an interrupt, a WebSocket that still waits for the end of a killed peer keeps nothing up.
Deno.exit(
  await main({
    name: "soak",
    help: HELP,
    callers: "12",
    every: "15",
    maxFreeze: "1",
    plan: {
      withTwoAgents: [],
      // The relay and the agent of "steady" live on, so that they can be watched.
      lasting: ["relay", "steady agent"],
      troubles: [
        { subjects: ["steady target"], actions: ["stopped", "killed"] },
        { subjects: ["restless agent"], actions: ["stopped", "killed"] },
      ],
    },
  }, Deno.args),
);
