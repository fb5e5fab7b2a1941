/** The delayed line (delay_proxy.ts) as a process of its own. */
import { twoFreePorts } from "./ports.ts";
import type { RouteContext } from "./route.ts";
import { Subprocess } from "./subprocess.ts";
import { poll } from "./wait.ts";

const START_TIMEOUT_MS = 30_000;

/**
 * Where to connect to reach `port`: a delayed line in front of it when the run has one, else the
 * port itself.
 */
export async function lineTo(
  port: number,
  context: RouteContext,
  stack: AsyncDisposableStack,
): Promise<number> {
  if (context.line === undefined) return port;
  const { rttMs, rateMbit } = context.line;
  const [listenPort] = twoFreePorts();
  const script = new URL("./delay_proxy.ts", import.meta.url).pathname;
  const process = stack.use(
    new Subprocess({
      name: "delay_proxy.ts",
      command: [
        ...[Deno.execPath(), "run", "--allow-net", script] as const,
        ...["--listen", `${listenPort}`, "--to", `${port}`],
        ...["--rtt", `${rttMs}`, "--rate", `${rateMbit}`],
      ],
    }),
  );
  await waitUntilListens(listenPort, process, context.signal);
  return listenPort;
}

/** Waits until a program takes connections at a port. */
export async function waitUntilListens(
  port: number,
  process: Subprocess,
  signal: AbortSignal,
): Promise<void> {
  await poll(async () => {
    await process.throwIfEnded();
    return await isListening(port) ? true : undefined;
  }, { what: () => `${process.name} to listen`, timeoutMs: START_TIMEOUT_MS, signal });
}

async function isListening(port: number): Promise<boolean> {
  try {
    using _connection = await Deno.connect({ hostname: "127.0.0.1", port });
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return false;
    throw error;
  }
}
