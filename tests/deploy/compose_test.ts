/**
 * `compose.yaml` without containers: its services' programs with the variables that it gives them,
 * and their addresses on loopback in place of the services' names.
 */
import { deepEqual, equal } from "node:assert/strict";
import { parse } from "yaml";
import { Program } from "../support/programs.ts";
import { readDockerfile } from "./build_images.ts";
import { repositoryRoot } from "./tools.ts";

interface Service {
  readonly image: string;
  readonly build?: { readonly context: string; readonly dockerfile: string };
  readonly entrypoint?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly user?: string;
  readonly read_only: boolean;
  readonly cap_drop: readonly string[];
}

const folder = `${repositoryRoot}deploy/docker/`;
const { services }: { services: Record<"relay" | "agent" | "target", Service> } = parse(
  await Deno.readTextFile(`${folder}compose.yaml`),
  { merge: true },
);

/** Variables as Compose sets them where CULVERT_TOKEN is not set, with other addresses. */
function variables(service: Service, addresses: Record<string, string>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(service.environment ?? {}).map(([name, value]) => {
      let text = value.replaceAll(/\$\{\w+:-([^}]*)\}/g, "$1");
      for (const [from, to] of Object.entries(addresses)) text = text.replaceAll(from, to);
      return [name, text];
    }),
  );
}

async function listening(program: Program, listener: string): Promise<string> {
  const { address } = await program.waitForLog((line) => line["listener"] === listener);
  return String(address);
}

Deno.test("compose.yaml: what its services are given leads a request to the sample target", async () => {
  const seen: string[] = [];
  await using target = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    ({ url, headers }) => {
      seen.push(`${new URL(url).pathname} ${headers.get("authorization")}`);
      return new Response("sample");
    },
  );
  const addresses = { "target:3000": `127.0.0.1:${target.addr.port}` };
  const loopback = "127.0.0.1:0";
  const relayArgs = ["--addr", loopback, "--internal-addr", loopback, "--log-format", "json"];
  await using relay = Program.start("relay.ts", relayArgs, variables(services.relay, addresses));
  const publicAddress = await listening(relay, "public");
  const internalAddress = await listening(relay, "internal");
  await using agent = Program.start(
    "agent.ts",
    ["--health-addr", loopback, "--log-format", "json"],
    variables(services.agent, { ...addresses, "relay:8443": publicAddress }),
  );
  await agent.waitForLog(({ message }) => message === "Connected to relay");
  const response = await fetch(`http://${internalAddress}/tunnel/sample/hello`);
  equal(`${response.status} ${await response.text()}`, "200 sample");
  deepEqual(seen, ["/hello null"]);
});

Deno.test("compose.yaml: its containers are built as the charts' are, and may do as little", async () => {
  for (const [name, { read_only, cap_drop, ports = [] }] of Object.entries(services)) {
    deepEqual({ read_only, cap_drop }, { read_only: true, cap_drop: ["ALL"] }, name);
    for (const port of ports) equal(port.startsWith("127.0.0.1:"), true, `${name}: ${port}`);
  }
  for (const program of ["relay", "agent"] as const) {
    const { context, dockerfile } = services[program].build!;
    await Deno.stat(`${folder}${context}/${dockerfile}`);
  }
  const { bases } = await readDockerfile("relay");
  equal(services.target.image, bases.at(-1), "the sample target has the Deno of the others");
  equal(services.target.user, "65532:65532");
  for (const volume of services.target.volumes!) await Deno.stat(folder + volume.split(":")[0]);
});
