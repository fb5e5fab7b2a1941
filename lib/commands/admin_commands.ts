/** `relay status`, `clusters`, `services`, `sessions` and `streams`: what its admin API knows and does. */
import {
  type AdminCommandOptions,
  clustersProgram,
  parseClustersOptions,
  parsePlainOptions,
  parseSessionsOptions,
  parseStreamsOptions,
  servicesProgram,
  sessionsProgram,
  statusProgram,
  streamsProgram,
} from "../config/commands/admin_options.ts";
import { hashToken } from "../relay/digests.ts";
import { AdminClient, AdminFailure, askForAll, askingRelay } from "./admin_client.ts";
import { type Command, commandOf, type CommandTools } from "./command.ts";
import { ago, textTable } from "./text_table.ts";
import { makeToken } from "./token.ts";

// deno-lint-ignore no-explicit-any
type Json = any;

type Work = (client: AdminClient, options: AdminCommandOptions) => Promise<string>;

function asking(work: Work) {
  return (options: AdminCommandOptions, tools: CommandTools) =>
    askingRelay(() => work(new AdminClient(options, tools), options));
}

/** The agent's own default. */
const defaultTarget = "kubernetes.default.svc:443";

export const statusCommand: Command = commandOf({
  word: statusProgram.word,
  parse: parsePlainOptions(statusProgram),
  make: asking(async (client, { isJson }) => {
    const status = await client.ask("GET", "/status");
    return isJson ? json(status) : statusText(status);
  }),
});

export const clustersCommand: Command = commandOf({
  word: clustersProgram.word,
  parse: parseClustersOptions,
  make: asking(async (client, options) => {
    const { action, subject, isJson } = options;
    const path = `/clusters/${encodeURIComponent(subject ?? "")}`;
    if (action === "add") return await addCluster(client, path, options);
    if (action === "remove") {
      const removed = await client.ask("DELETE", path);
      return isJson ? json(removed) : `Removed cluster ${subject}\n`;
    }
    if (action === "get") return json(await client.ask("GET", path));
    return await listClusters(client, options);
  }),
});

export const servicesCommand: Command = commandOf({
  word: servicesProgram.word,
  parse: parsePlainOptions(servicesProgram),
  make: asking(async (client, { isJson }) => {
    const { services } = await client.ask("GET", "/status");
    if (isJson) return json(services);
    return textTable(
      ["NAME", "HOSTNAMES", "KIND", "CLUSTER", "TARGET", "POLICY", "AGENTS", "SOURCE"],
      services.map((it: Json) => [
        ...[it.name, it.hostnames.join(","), it.kind, it.cluster, it.target, it.policy],
        ...[it.agents, it.source],
      ]),
    );
  }),
});

export const sessionsCommand: Command = commandOf({
  word: sessionsProgram.word,
  parse: parseSessionsOptions,
  make: asking(async (client, { action, subject, isJson, of }) => {
    if (action === "revoke") return await revoke(client, subject!, isJson);
    const query = of === undefined ? "" : `?user=${encodeURIComponent(of)}`;
    const page = await askForAll(client, `/sessions${query}`);
    if (isJson) return json(page);
    const nowMs = Date.now();
    return textTable(
      ["ID", "USER", "PROVIDER", "SINCE", "LAST USED", "EXPIRES", "HOSTS"],
      page.items.map((it: Json) => [
        ...[it.id, it.user, it.provider, ago(it.since, nowMs), ago(it.lastUsed, nowMs)],
        ...[it.expires, it.hosts.join(",")],
      ]),
    );
  }),
});

export const streamsCommand: Command = commandOf({
  word: streamsProgram.word,
  parse: parseStreamsOptions,
  make: asking(async (client, { action, subject, isJson, of }) => {
    const path = of === undefined ? "/streams" : `/clusters/${encodeURIComponent(of)}/streams`;
    const { items } = await askForAll(client, path);
    if (action === "end") return await endStream(client, items, subject!, isJson);
    if (isJson) return json(items);
    const nowMs = Date.now();
    return textTable(
      ["ID", "CLUSTER", "SERVICE", "CALLER", "ADDRESS", "METHOD", "PATH", "SINCE"],
      items.map((it: Json) => [
        ...[it.id, it.cluster, it.service, it.caller, it.address, it.method, it.path],
        ago(it.since, nowMs),
      ]),
    );
  }),
});

function statusText(status: Json): string {
  const agents = status.clusters.flatMap((cluster: Json) => cluster.agents);
  const away = status.clusters.filter((cluster: Json) => cluster.agents.length === 0);
  const nowMs = status.atMs;
  const time = (ms: number): string => new Date(ms).toISOString();
  const relays = textTable(
    ["RELAY", "VERSION", "UP", "AGENTS", "STREAMS", "STATE"],
    status.relays.map((it: Json) => [
      ...[it.id, it.version, ago(time(it.startedMs), nowMs), it.agents, it.openStreams],
      it.fault ?? (it.isStopping ? "stopping" : it.isDirectoryUp === false ? "no directory" : "ok"),
    ]),
  );
  const lines = [
    `${status.clusters.length} clusters, ${agents.length} agents, ` +
    `${status.services.length} services, ${status.streams.length} streams`,
    ...away.length > 0
      ? [
        `without an agent: ${away.map(({ id }: Json) => id).slice(0, 20).join(", ")}` +
        (away.length > 20 ? ` and ${away.length - 20} more` : ""),
      ]
      : [],
    ...status.limitHits.map((it: Json) => `limit ${it.limit} met ${it.count} times`),
    ...status.reloads.filter((it: Json) => it.result === "refused")
      .map((it: Json) => `refused a change of ${it.source}: ${it.reason}`),
  ];
  return `${relays}\n${lines.join("\n")}\n`;
}

async function listClusters(
  client: AdminClient,
  { isJson, owner }: AdminCommandOptions,
): Promise<string> {
  const { clusters } = await client.ask("GET", "/status");
  const shown = owner === undefined
    ? clusters
    : clusters.filter((cluster: Json) => cluster.owner === owner);
  if (isJson) return json(shown);
  const nowMs = Date.now();
  return textTable(
    ["ID", "AGENTS", "SINCE", "ADDRESS", "VERSION", "RTT", "STREAMS", "SOURCE", "OWNER", "STATE"],
    shown.map(({ id, agents, source, owner, isAccepted, lastDisconnect }: Json) => {
      const [first] = agents;
      const state = !isAccepted
        ? "not accepted"
        : first
        ? (first.draining ? "draining" : first.suspect ? "silent" : "ok")
        : lastDisconnect
        ? `gone: ${lastDisconnect.reason || lastDisconnect.code}`
        : "never seen";
      return [
        ...[id, agents.length, ago(first?.since, nowMs), first?.address, first?.software],
        first && `${Math.round(first.roundTripMs)}ms`,
        agents.reduce((sum: number, agent: Json) => sum + agent.streams, 0),
        ...[source, owner, state],
      ];
    }),
  );
}

async function addCluster(
  client: AdminClient,
  path: string,
  { subject, targetAddr = defaultTarget, owner, server, isJson }: AdminCommandOptions,
): Promise<string> {
  const token = makeToken();
  const body = { tokenSha256: await hashToken(token), targetAddr, ...owner && { owner } };
  const entry = await client.ask("PUT", path, body, { "If-None-Match": "*" });
  if (isJson) return json({ token, entry });
  const relay = server ?? "wss://RELAY";
  const isWaiting = entry.accepted === false;
  return [
    `Added cluster ${subject}. Its token is shown this once.`,
    ...isWaiting ? ["The cluster waits to be accepted; until then its agent is refused."] : [],
    "",
    "The agent's command line:",
    `  TOKEN='${token}' agent --server ${relay} --target ${targetAddr}`,
    "",
    "Values of the chart culvert-agent:",
    `  serverURL: ${relay}`,
    `  token: ${token}`,
    `  targetAddr: ${targetAddr}`,
    "",
  ].join("\n");
}

/** Users' names and sessions' ids are told apart by asking. */
async function revoke(client: AdminClient, subject: string, isJson: boolean): Promise<string> {
  const { items } = await askForAll(client, "/sessions");
  const isId = items.some((session: Json) => session.id === subject);
  const encoded = encodeURIComponent(subject);
  if (isId) {
    await client.ask("DELETE", `/sessions/${encoded}`);
    return isJson ? json({ ended: 1 }) : `Revoked session ${subject}\n`;
  }
  const { ended } = await client.ask("DELETE", `/sessions?user=${encoded}`);
  if (ended === 0) throw new AdminFailure(`There is no session or user ${JSON.stringify(subject)}`);
  return isJson ? json({ ended }) : `Revoked ${ended} sessions of ${subject}\n`;
}

async function endStream(
  client: AdminClient,
  items: Json[],
  id: string,
  isJson: boolean,
): Promise<string> {
  const found = items.find((stream) => stream.id === id);
  if (!found) throw new AdminFailure(`There is no stream ${JSON.stringify(id)}`);
  const path = `/clusters/${encodeURIComponent(found.cluster)}/streams/${encodeURIComponent(id)}`;
  const ended = await client.ask("DELETE", path);
  return isJson ? json(ended) : `Ended stream ${id}\n`;
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
