/** A relay in the test's own process, agents that are sockets of the test's, and callers. */
import { defaultHeadLimits } from "../../../lib/http1/head.ts";
import type { Log } from "../../../lib/log.ts";
import { serveFetch } from "../../../lib/net/fetch_server.ts";
import { Admission } from "../../../lib/relay/agents/admissions.ts";
import { digestToken } from "../../../lib/relay/digests.ts";
import { edgeApp } from "../../../lib/relay/edge_app.ts";
import { noLimits } from "../../../lib/relay/limits/limits.ts";
import { Relay, type RelayConfig } from "../../../lib/relay/relay.ts";
import { AgentSession } from "../../../lib/relay/routes/agent_session.ts";
import { agentSettings, ManualSocket } from "../../protocol/session_setup.ts";
import { frame, T } from "../../protocol/wire.ts";
import { eventually } from "../../support/deadline.ts";

const silent: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** Makes a relay. */
export function createRelay(config: Partial<RelayConfig> = {}): Promise<Relay> {
  return Relay.create(
    {
      clusters: [],
      callers: { mode: "open" },
      limits: noLimits,
      clusterLimits: noLimits,
      idleTimeoutMs: 0,
      responseTimeoutMs: 0,
      maxBodyBytes: 0,
      head: defaultHeadLimits,
      maxStreams: 100,
      version: "1.2.3",
      ...config,
    },
    silent,
    { defer: setImmediate },
  );
}

/** Has an agent connect, and waits until the relay has its session. */
export async function connectAgent(
  relay: Relay,
  { token, instance, announces = {} }: {
    readonly token: string;
    readonly instance: string;
    readonly announces?: object;
  },
): Promise<ManualSocket> {
  const credentials = { digest: await digestToken(token), certificate: undefined };
  const admission = relay.admissions.admit(credentials);
  if (!(admission instanceof Admission)) throw new Error(`Refused: ${admission.kind}`);
  const socket = new ManualSocket();
  const settings = { ...agentSettings, instance, announces: true };
  new AgentSession(relay, { admission, socket, offersVersion2: true, peer: "192.0.2.7" });
  socket.events.message(frame(T.Settings, 0, JSON.stringify(settings)));
  const announcement = { targets: [], ...announces };
  socket.events.message(frame(T.Announce, 0, JSON.stringify(announcement)));
  const isThere = () => relay.registry.all().some((it) => it.instance === instance && it.targets);
  await eventually(isThere, "the session to be registered");
  return socket;
}

/** Sends a request, which is answered in its time. */
export function ask(relay: Relay, url: string, init: RequestInit = {}): Promise<Response> {
  const app = edgeApp(relay);
  return serveFetch(new Request(url, init), {
    app: (request, bindings) => app.fetch(request, bindings),
    peer: { address: "192.0.2.1", isTls: true },
    host: {
      upgrade: () => {
        throw new Error("No upgrade was asked for");
      },
      copiesOnSend: true,
    },
    fault: (error) => {
      throw error;
    },
  });
}
