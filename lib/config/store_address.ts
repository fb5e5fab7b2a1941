/** Where the Redis that relays share is: one server, what Sentinel watches, or a Cluster. */
import { unencodedUserinfo } from "./options/userinfo.ts";

/** One server's address. */
export interface StoreNode {
  readonly host: string;
  readonly port: number;
}

/** Who logs in. The password is a secret. */
export interface StoreLogin {
  readonly username?: string;
  readonly password?: string;
}

interface Nodes {
  /** Where to ask first; the others are found from there. */
  readonly nodes: readonly StoreNode[];
  readonly login: StoreLogin;
  readonly isTls: boolean;
}

/** One server, or a name that follows the one to write to. */
export interface SingleStore {
  readonly kind: "single";
  /** May hold a password. A secret. */
  readonly url: string;
}

/** A primary and its replicas, which Sentinels watch; `nodes` are Sentinels. */
export interface SentinelStore extends Nodes {
  readonly kind: "sentinel";
  /** What the Sentinels call the primary. */
  readonly primary: string;
  readonly database: number;
  /** The login at the Sentinels themselves. */
  readonly sentinelLogin: StoreLogin;
}

/** A Redis Cluster. */
export interface ClusterStore extends Nodes {
  readonly kind: "cluster";
}

/** @see parseStoreAddress */
export type StoreAddress = SingleStore | SentinelStore | ClusterStore;

const formExpected = "must be redis://[USER:PASSWORD@]HOST:PORT[/NUMBER], " +
  "redis+sentinel://[USER:PASSWORD@]HOST:PORT,…/PRIMARY[/NUMBER] or " +
  "redis+cluster://[USER:PASSWORD@]HOST:PORT,…, with rediss in place of redis for TLS";
const sentinelExpected = "must be redis+sentinel://[USER:PASSWORD@]HOST:PORT,…/PRIMARY[/NUMBER] " +
  "(rediss+sentinel:// for TLS): Sentinels' addresses, and the name under which they monitor the " +
  "primary, followed by nothing but ?sentinel-user=USER and sentinel-password=PASSWORD";
const clusterExpected = "must be redis+cluster://[USER:PASSWORD@]HOST:PORT,… (rediss+cluster:// " +
  "for TLS): the addresses of one or more nodes, and nothing behind them";

const sentinelPort = 26_379;
const redisPort = 6_379;

/** A value of `--directory`, or what it must be: words that complete "Option --directory …". */
export function parseStoreAddress(text: string): StoreAddress | string {
  const fault = unencodedUserinfo(text);
  if (fault !== undefined) return `must ${fault}`;
  const [, scheme, rest = ""] = /^(rediss?(?:\+sentinel|\+cluster)?):\/\/(.*)$/is.exec(text) ?? [];
  switch (scheme?.toLowerCase().replace(/^rediss/, "redis")) {
    case "redis":
      return isSingle(text) ? { kind: "single", url: text } : formExpected;
    case "redis+sentinel":
      return parseSentinel(rest, isTls(scheme!)) ?? sentinelExpected;
    case "redis+cluster":
      return parseCluster(rest, isTls(scheme!)) ?? clusterExpected;
    default:
      return formExpected;
  }
}

/** Whether an address is one whose servers take each other's place. */
export function hasReplicas(text: string): boolean {
  const address = parseStoreAddress(text);
  return typeof address !== "string" && address.kind !== "single";
}

function isTls(scheme: string): boolean {
  return /^rediss/i.test(scheme);
}

function isSingle(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && url.hostname !== "" && /^(?:\/\d*)?$/.test(url.pathname) &&
    url.search === "" && url.hash === "";
}

function parseSentinel(rest: string, isTls: boolean): SentinelStore | undefined {
  const [, authority = "", primary, number, query] =
    /^([^/?#]*)\/([\w.-]{1,256})(?:\/(\d{1,5})?)?(?:\?([^#]*))?$/.exec(rest) ?? [];
  const found = primary === undefined ? undefined : parseNodes(authority, sentinelPort);
  const sentinelLogin = parseSentinelLogin(query ?? "");
  if (!found || primary === undefined || !sentinelLogin) return undefined;
  const database = Number(number ?? 0);
  return { kind: "sentinel", ...found, isTls, primary, database, sentinelLogin };
}

function parseCluster(rest: string, isTls: boolean): ClusterStore | undefined {
  const [, authority = ""] = /^([^/?#]*)\/?$/.exec(rest) ?? [];
  const found = parseNodes(authority, redisPort);
  return found && { kind: "cluster", ...found, isTls };
}

function parseSentinelLogin(query: string): StoreLogin | undefined {
  const parameters = new URLSearchParams(query);
  const names = [...parameters.keys()];
  const isKnown = names.every((name) => ["sentinel-user", "sentinel-password"].includes(name));
  if (!isKnown || new Set(names).size !== names.length) return undefined;
  return loginOf(parameters.get("sentinel-user"), parameters.get("sentinel-password"));
}

/** `[USER:PASSWORD@]HOST:PORT,…` */
function parseNodes(
  authority: string,
  defaultPort: number,
): { nodes: readonly StoreNode[]; login: StoreLogin } | undefined {
  const at = authority.lastIndexOf("@");
  const [user = "", ...password] = authority.slice(0, Math.max(0, at)).split(":");
  const nodes = authority.slice(at + 1).split(",").map((node) => parseNode(node, defaultPort));
  if (!nodes.every((node) => node !== undefined)) return undefined;
  return { nodes, login: loginOf(decoded(user), decoded(password.join(":"))) };
}

/** A percent sign that encodes nothing was refused before; one that encodes no text stays. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function loginOf(username: string | null, password: string | null): StoreLogin {
  return { ...(username ? { username } : {}), ...(password ? { password } : {}) };
}

function parseNode(text: string, defaultPort: number): StoreNode | undefined {
  // A scheme with a default port, for the URL parser to check names and addresses.
  const url = /^[^/?#@\\\s]+$/.test(text) ? URL.parse(`ws://${text}`) : null;
  if (!url || url.hostname === "") return undefined;
  // Port 80 is that scheme's own, which the parser drops.
  const port = url.port !== "" ? Number(url.port) : /:0*80$/.test(text) ? 80 : defaultPort;
  return port === 0 ? undefined : { host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port };
}
