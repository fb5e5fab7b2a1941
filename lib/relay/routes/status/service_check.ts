/** Whether a service can be reached, tried through an agent to its target. */
import { encodeLatin1, noBytes } from "../../../bytes/bytes.ts";
import type { HeadLimits } from "../../../http1/head.ts";
import { HeadError, type ResponseHead } from "../../../http1/head.ts";
import { HeadReader } from "../../../http1/head_reader.ts";
import type { Channel } from "../../../net/channel.ts";
import { ConnectingChannel } from "../../../net/connecting_channel.ts";
import { StreamError } from "../../../protocol/errors.ts";
import type { Registration } from "../../agents/registry.ts";
import type { Relay } from "../../relay.ts";
import type { ServiceRoute } from "../../route.ts";
import { destinationOf } from "../destination.ts";

/** What came of it. */
export interface CheckResult {
  readonly isReached: boolean;
  /** One sentence. */
  readonly text: string;
  readonly facts: readonly (readonly [name: string, value: string])[];
}

/** How long the target may take to answer, in milliseconds. */
const timeoutMs = 10_000;

/** Tries a service once. */
export async function checkService(relay: Relay, name: string): Promise<CheckResult> {
  const route = relay.services.table.routeByName(name);
  if (!route) return unreached("The service no longer exists.");
  const registration = relay.registry.pickServing(route.cluster, { route });
  if (!registration) return unreached(whyNot(relay, route));
  const startMs = performance.now();
  const outcome = await tried(relay, route, registration);
  const tookMs = Math.round(performance.now() - startMs);
  const facts = [
    ["Agent", `${registration.instance ?? "unnamed"} (${registration.address})`],
    ["Target", destinationOf(route).targetAt(registration)],
    ["Took", `${tookMs} ms`],
  ] as const;
  return { ...outcome, facts };
}

function whyNot({ registry, peers }: Relay, route: ServiceRoute): string {
  if (registry.serving(route.cluster, route) === "others") {
    return "The agents of the cluster do not list the service's target.";
  }
  return peers?.knows(route.cluster)
    ? "Another relay has the cluster's agents: check it there."
    : "No agent of the cluster is connected.";
}

function unreached(text: string): CheckResult {
  return { isReached: false, text, facts: [] };
}

type Outcome = Pick<CheckResult, "isReached" | "text">;

async function tried(
  relay: Relay,
  route: ServiceRoute,
  registration: Registration,
): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const target = destinationOf(route).targetAt(registration);
  let channel: Channel | undefined;
  try {
    channel = route.transport === "http"
      ? askHttp(registration.session.open(target, headOf(route)), relay.config.head, resolve)
      : connect(registration.session.open(target, noBytes, { kind: "tcp" }), resolve);
  } catch (error) {
    if (!(error instanceof StreamError)) throw error;
    return failed(error);
  }
  const timer = setTimeout(() => {
    resolve({ isReached: false, text: `There was no answer within ${timeoutMs / 1_000} s.` });
  }, timeoutMs);
  const outcome = await promise;
  clearTimeout(timer);
  channel.close();
  return outcome;
}

function headOf({ hostname }: ServiceRoute): Uint8Array {
  const host = hostname.replace(/^\*\./, "");
  const lines = ["HEAD / HTTP/1.1", `Host: ${host}`, "User-Agent: culvert-check", "Accept: */*"];
  return encodeLatin1([...lines, "Connection: close", "", ""].join("\r\n"));
}

function askHttp(
  stream: Channel,
  limits: HeadLimits,
  settle: (outcome: Outcome) => void,
): Channel {
  const heads = HeadReader.forResponses(limits);
  stream.listen({
    data(bytes) {
      try {
        const head = finalHead(heads, bytes);
        if (head) settle(answered(head));
      } catch (error) {
        if (!(error instanceof HeadError)) throw error;
        settle({ isReached: false, text: `The target's answer is not HTTP: ${error.message}.` });
      }
      stream.consumed(bytes.length);
    },
    end: () => settle({ isReached: false, text: "The target closed without an answer." }),
    closed: () => settle({ isReached: false, text: "The agent closed without an answer." }),
    failed: (error) => settle(failed(error)),
    drained() {},
  });
  stream.end();
  return stream;
}

/** Passes over interim responses (1xx). */
function finalHead(heads: HeadReader<ResponseHead>, bytes: Uint8Array): ResponseHead | undefined {
  let head = heads.read(bytes);
  while (head && head.status < 200) head = heads.read(heads.takeRest());
  return head;
}

/** Any answer of HTTP shows that the target is there; whether it is the right one is for people. */
function answered({ status, reason }: ResponseHead): Outcome {
  const text = `The target answered ${status}${reason === "" ? "" : ` ${reason}`}.`;
  return { isReached: status < 500, text };
}

function connect(stream: Channel, settle: (outcome: Outcome) => void): Channel {
  return new ConnectingChannel(stream, {
    connected: () => settle({ isReached: true, text: "The agent connected to the target." }),
    failed: (error) => settle(failed(error)),
  });
}

function failed({ code, message }: StreamError): Outcome {
  return { isReached: false, text: `The agent did not reach the target (${code}): ${message}.` };
}
