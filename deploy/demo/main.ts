/**
 * `deno task demo`: a target, a relay and an agent on free ports, one request shown on its way, a URL
 * for a browser, and commands to copy. The relay and the agent are the real programs, started as a user would.
 */
import { parseArgs } from "node:util";
import { parseTargetAddress } from "../../lib/config/options/address.ts";
import { TARGET_EXPECTED } from "../../lib/config/options/kinds.ts";
import { Program } from "./program.ts";
import { show } from "./show.ts";
import { startSampleTarget } from "./target.ts";

const help = `Usage: deno task demo [options]

Starts a sample target, a relay and an agent on free ports of the loopback interface, sends a request,
prints a URL to open in a browser and commands to try, and runs until you press Ctrl+C.

Options:
  --once                 Exit after the request
  --target HOST:PORT     Serve this instead of the sample target, such as an API server
  --ca-cert FILE         CA of the target's certificate (with --target; without it: plain HTTP)
  --sa-token-path FILE   Token that the agent sends to the target (with --target)
  --help                 Print this text

Example, with a real Kubernetes:
  deno task demo --target 127.0.0.1:6443 --ca-cert ca.crt --sa-token-path agent.token
`;

interface DemoOptions {
  isOnce: boolean;
  target?: string;
  caCert?: string;
  saTokenPath?: string;
}

/** A wrong option: one line and exit code 2. */
function refuse(message: string): never {
  console.error(`demo: ${message}; run deno task demo --help`);
  Deno.exit(2);
}

function readOptions(argv: string[]): DemoOptions {
  try {
    const { values } = parseArgs({
      args: argv,
      options: {
        once: { type: "boolean", default: false },
        target: { type: "string" },
        "ca-cert": { type: "string" },
        "sa-token-path": { type: "string" },
        help: { type: "boolean", short: "h", default: false },
      },
    });
    if (values.help) {
      console.log(help);
      Deno.exit(0);
    }
    const { target, "ca-cert": caCert, "sa-token-path": saTokenPath } = values;
    if (target === undefined && (caCert ?? saTokenPath) !== undefined) {
      refuse("Options --ca-cert and --sa-token-path go with --target");
    }
    if (target !== undefined && !parseTargetAddress(target)) {
      refuse(`Option --target ${TARGET_EXPECTED}, but is "${target}"`);
    }
    return {
      isOnce: values.once,
      ...(target === undefined ? {} : { target }),
      ...(caCert === undefined ? {} : { caCert }),
      ...(saTokenPath === undefined ? {} : { saTokenPath }),
    };
  } catch (error) {
    refuse(error instanceof Error ? error.message.split(". ")[0]! : String(error));
  }
}

/** Options of the agent that say how its target is reached. */
function targetOptions(options: DemoOptions, target: string, sampleToken: string): string[] {
  if (options.target === undefined) {
    return ["--target", target, "--plain-target", "--sa-token-path", sampleToken];
  }
  const transport = options.caCert ? ["--ca-cert", options.caCert] : ["--plain-target"];
  return ["--target", target, ...transport, "--sa-token-path", options.saTokenPath ?? ""];
}

/** Browsers resolve every name below `localhost` to the loopback interface. */
const hostname = "demo.localhost";

/**
 * Options of the relay that publish the sample target at a hostname. An API server gets none: any
 * page in the user's browser could send requests there, to which the agent adds its credential.
 */
function webOptions(target: string): string[] {
  const service = {
    name: "demo",
    hostnames: [hostname],
    cluster: "demo",
    target,
    policy: "public",
  };
  return ["--web-addr", "127.0.0.1:0", "--services", JSON.stringify({ services: [service] })];
}

async function main(): Promise<void> {
  const options = readOptions(Deno.args);
  await using resources = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ prefix: "culvert-demo-" });
  resources.defer(() => Deno.remove(folder, { recursive: true }));

  const sample = options.target === undefined
    ? resources.use(await startSampleTarget())
    : undefined;
  const target = options.target ?? sample!.address;
  const sampleToken = `${folder}/token`;
  await Deno.writeTextFile(sampleToken, "the-agents-own-token-from-its-disk");
  const token = crypto.randomUUID();
  const clusters = `${folder}/clusters.json`;
  await Deno.writeTextFile(
    clusters,
    JSON.stringify([{ id: "demo", token, targetAddr: target }]),
  );

  console.log("Starting a relay and an agent …");
  const relay = resources.use(Program.start("relay.ts", [
    ...["--addr", "127.0.0.1:0", "--internal-addr", "127.0.0.1:0", "--clusters", clusters],
    ...sample ? webOptions(target) : [],
  ]));
  const agents = await relay.listening("public");
  const callers = await relay.listening("internal");
  const web = sample && await relay.listening("web");
  const agent = resources.use(Program.start("agent.ts", [
    ...["--server", `ws://${agents}/connect`, "--allow-insecure-server", "--health-addr", ""],
    ...targetOptions(options, target, sampleToken),
  ], { TOKEN: token }));
  // An agent that does not start, for an option's file, say, will never be heard of by the relay.
  await agent.logged("Connected to relay");
  await relay.logged("Agent connected");

  await show({
    tunnel: `http://${callers}/tunnel/demo`,
    target,
    ...web === undefined ? {} : { page: `http://${hostname}:${web.split(":").at(-1)}` },
  });
  if (options.isOnce) return;
  console.log("\nRunning until you press Ctrl+C.");
  await interrupted();
  console.log("\nStopping.");
}

function interrupted(): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  Deno.addSignalListener("SIGINT", resolve);
  Deno.addSignalListener("SIGTERM", resolve);
  return promise;
}

try {
  await main();
  Deno.exit(0);
} catch (error) {
  console.error(`demo: ${error instanceof Error ? error.message : String(error)}`);
  Deno.exit(1);
}
