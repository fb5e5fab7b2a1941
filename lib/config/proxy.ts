/**
 * The HTTP proxy on the agent's way to its relay: `--proxy`, or the variables that Go's and curl's
 * programs share (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY).
 */
import { z } from "zod";
import { ConfigError } from "./config_error.ts";
import { addressOfUrl, formatAddress, isLoopback } from "./options/address.ts";
import type { Kind } from "./options/kinds.ts";
import {
  cleanVariable,
  type Environment,
  refuseQuotes,
  variableOf,
} from "./options/environment.ts";
import { unencodedUserinfo } from "./options/userinfo.ts";

/** A proxy that opens connections by CONNECT (RFC 9110 section 9.3.6). */
export interface Proxy {
  /** Whether the connection to the proxy itself is TLS (`https://`). */
  readonly isTls: boolean;
  /** A name or an IP address without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** Value of `Proxy-Authorization`; a secret. */
  readonly authorization?: string | undefined;
}

const PROXY_EXPECTED =
  "must be the URL of an HTTP proxy, http://HOST:PORT or https://HOST:PORT, with credentials as " +
  "http://USER:PASSWORD@HOST:PORT";
const SOCKS_FAULT = "must not be a SOCKS proxy: the agent speaks with HTTP proxies, http:// or " +
  "https://";
const CREDENTIALS_FAULT =
  "must have its user name and password percent-encoded, and no colon in the name";

/** What `--proxy` takes. */
export const proxyOrNone: Kind<Proxy | "none"> = {
  placeholder: "URL",
  schema: z.string().transform((text, context) => {
    if (text === "none") return "none";
    const proxy = parseProxy(text);
    if (typeof proxy === "object") return proxy;
    context.addIssue({ code: "custom", message: proxy });
    return z.NEVER;
  }),
};

/** Reads a proxy's URL; without a scheme, http:// is meant. @returns what is wrong with it, or it. */
function parseProxy(text: string): Proxy | string {
  const hasScheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.test(text);
  const url = URL.parse(hasScheme ? text : `http://${text}`);
  const unencoded = unencodedUserinfo(hasScheme ? text : `http://${text}`, "\\");
  if (unencoded !== undefined) return `must ${unencoded}`;
  if (url === null || url.hostname === "") return PROXY_EXPECTED;
  if (/^socks/.test(url.protocol)) return SOCKS_FAULT;
  if (!["http:", "https:"].includes(url.protocol)) return PROXY_EXPECTED;
  // With an unescaped "/", "?" or "#" in the password, its first part would pass for a port.
  if (/[?#]/.test(url.href) || url.pathname !== "/") return PROXY_EXPECTED;
  const proxy = {
    isTls: url.protocol === "https:",
    ...addressOfUrl(url),
  };
  if (url.username === "" && url.password === "") return proxy;
  const authorization = authorizationOf(url);
  return authorization === undefined ? CREDENTIALS_FAULT : { ...proxy, authorization };
}

/** Undefined when the credentials can't be decoded, or not be sent (RFC 7617 section 2). */
function authorizationOf({ username, password }: URL): string | undefined {
  try {
    const user = decodeURIComponent(username);
    const credentials = `${user}:${decodeURIComponent(password)}`;
    // deno-lint-ignore no-control-regex
    if (user.includes(":") || /[\x00-\x1f\x7f]/.test(credentials)) return undefined;
    return `Basic ${new TextEncoder().encode(credentials).toBase64()}`;
  } catch {
    return undefined;
  }
}

/** The proxy's URL for logs: without credentials. */
export function formatProxy({ isTls, hostname, port }: Proxy): string {
  return `${isTls ? "https" : "http"}://${formatAddress({ hostname, port })}`;
}

/** What the environment says about the way to the relay. */
export interface EnvironmentProxy {
  readonly proxy?: Proxy;
  /** One line each, about what has no effect. */
  readonly warnings: readonly string[];
}

/**
 * The proxy that the environment asks for on the way to a `ws:` or `wss:` URL.
 *
 * As in Go's programs, which agents used to be: upper case comes before lower case, and what runs on
 * this machine (`localhost`, a loopback address) is never asked of a proxy. A SOCKS proxy is meant for
 * other programs, and left to them.
 *
 * @throws {ConfigError} when the variable that counts here holds no proxy
 */
export function proxyFromEnvironment(env: Environment, destination: URL): EnvironmentProxy {
  const scheme = destination.protocol === "wss:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const given = [scheme, scheme.toLowerCase(), "ALL_PROXY", "all_proxy"].flatMap((name) => {
    const text = cleanVariable(variableOf(env, name) ?? "").text;
    return text === "" ? [] : [{ origin: `Environment variable ${name}`, text }];
  });
  if (given.length === 0 || isLoopback(hostOf(destination))) return { warnings: [] };
  const exempted = noProxyOf(env);
  const warnings = exempted === undefined ? [] : warningsAbout(exempted);
  if (exempted !== undefined && isExempt(destination, exempted.text)) return { warnings };
  for (const { origin, text } of given) {
    refuseQuotes(origin, text);
    const proxy = parseProxy(text);
    if (typeof proxy === "object") return { proxy, warnings };
    if (proxy !== SOCKS_FAULT) throw new ConfigError(`${origin} ${proxy}`);
    warnings.push(`${origin} has no effect: it is a SOCKS proxy, and the agent uses HTTP proxies`);
  }
  return { warnings };
}

/** The exemptions and the variable that holds them. */
function noProxyOf(env: Environment): { name: string; text: string } | undefined {
  for (const name of ["NO_PROXY", "no_proxy"]) {
    const text = variableOf(env, name);
    if (text) return { name, text };
  }
  return undefined;
}

/** Entries that are named one by one; a list with more of them is of another kind altogether. */
const maxWarnings = 5;

function warningsAbout({ name, text }: { name: string; text: string }): string[] {
  const useless = entriesOf(text).flatMap((entry) => {
    const why = whyUseless(entry);
    return why === undefined ? [] : [`${JSON.stringify(entry.slice(0, 80))}, which ${why}`];
  });
  const more = useless.length - maxWarnings;
  return [
    ...useless.slice(0, maxWarnings).map((entry) =>
      `Environment variable ${name} has the entry ${entry}: it matches nothing`
    ),
    ...more > 0 ? [`Environment variable ${name} has ${more} more such entries`] : [],
  ];
}

/** Why an entry can match no host; undefined when it can. */
function whyUseless(entry: string): string | undefined {
  if (entry === "*") return undefined;
  if (/["'`\u2018-\u201f]/.test(entry)) return "has quotes; leave them out";
  if (entry.includes("://")) return "is a URL; give the host alone";
  if (entry.includes(";")) return "has a semicolon; put commas between entries";
  if (entry.includes("/")) {
    const [, base = "", bits = ""] = /^\[?([^\]/]*)\]?\/(\d{1,3})$/.exec(entry) ?? [];
    const isNetwork = Number(bits) <= (addressOf(base)?.length ?? -1) * 8;
    return bits !== "" && isNetwork ? undefined : "is no network such as 10.0.0.0/8";
  }
  const [, bracketed, bare, port] =
    /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(bracketIpv6(entry)) ??
      [];
  const name = bracketed ?? bare;
  if (name === undefined) return "is neither a host nor an address";
  if (port !== undefined && !isPort(port)) return "has a port that is none";
  if (addressOf(name) !== undefined) return undefined;
  if (/^[\d.]*\d[\d.]*$/.test(name)) return "is no IP address";
  if (/\P{ASCII}/u.test(name)) return "is not ASCII; write it as xn--…";
  const labels = name.replace(/^\*?\./, "").replace(/\.$/, "");
  if (labels.includes("*")) {
    return 'has "*" within it; give .example.com, or a network such as 10.0.0.0/8';
  }
  return /^[\w-]+(?:\.[\w-]+)*$/.test(labels) ? undefined : "is no host name";
}

function isPort(text: string): boolean {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65_535;
}

/** Lower case, without brackets and without the dot of a complete name, as `URL` normalises it. */
function hostOf(url: URL): string {
  return addressOfUrl(url).hostname.replace(/\.$/, "");
}

/**
 * Whether NO_PROXY names a URL's host: a list, with commas or spaces, of names (they and all below
 * them), `.name` or `*.name` (all below it), addresses, networks such as `10.0.0.0/8`, and `*`.
 * Names and addresses may have a port; then that port alone is meant. No name is looked up.
 */
export function isExempt(destination: URL, noProxy: string): boolean {
  const host = hostOf(destination);
  const port = String(addressOfUrl(destination).port);
  return entriesOf(noProxy).some((entry) => matches(entry, host, port));
}

function entriesOf(noProxy: string): string[] {
  return noProxy.split(/[\s,]+/).filter((entry) => entry !== "");
}

function matches(entry: string, host: string, port: string): boolean {
  if (entry === "*") return true;
  if (entry.includes("/")) return isInNetwork(host, entry);
  const [, bracketed, bare = "", ownPort] =
    /^(?:\[([^\]]*)\]|([^:]*))(?::(\d+))?$/.exec(bracketIpv6(entry)) ?? [];
  if (ownPort !== undefined && ownPort !== port) return false;
  const name = (bracketed ?? bare).toLowerCase().replace(/\.$/, "");
  const address = addressOf(name);
  if (address !== undefined) return isInNetwork(host, `${name}/${address.length * 8}`);
  // Nothing is below an address.
  if (addressOf(host) !== undefined) return false;
  if (name.startsWith("*.")) return host.endsWith(name.slice(1));
  if (name.startsWith(".")) return host.endsWith(name);
  return name !== "" && (host === name || host.endsWith(`.${name}`));
}

/** An IPv6 address that has no brackets has no port either: its last colon is its own. */
function bracketIpv6(entry: string): string {
  return entry.split(":").length > 2 && !entry.startsWith("[") ? `[${entry}]` : entry;
}

function isInNetwork(host: string, network: string): boolean {
  const [, base = "", bitsText = ""] = /^\[?([^\]/]*)\]?\/(\d{1,3})$/.exec(network) ?? [];
  const own = addressOf(base);
  const other = addressOf(host);
  const bits = Number(bitsText);
  if (!own || !other || own.length !== other.length || bits > own.length * 8) return false;
  return own.every((byte, index) => {
    const kept = Math.min(8, Math.max(0, bits - index * 8));
    return byte >> (8 - kept) === other[index]! >> (8 - kept);
  });
}

/** The 4 or 16 bytes of an IP address; undefined for a name. */
function addressOf(text: string): number[] | undefined {
  if (ipv4.safeParse(text).success) return text.split(".").map(Number);
  if (!ipv6.safeParse(text).success) return undefined;
  // In a URL the address has one form: groups in hexadecimal, the dots of an IPv4 one among them.
  const [before = "", after] = new URL(`http://[${text}]`).hostname.slice(1, -1).split("::");
  const head = groupsOf(before);
  const tail = groupsOf(after ?? "");
  const gap = new Array<number>(8 - head.length - tail.length).fill(0);
  return [...head, ...gap, ...tail].flatMap((group) => [group >> 8, group & 0xff]);
}

function groupsOf(text: string): number[] {
  return text === "" ? [] : text.split(":").map((group) => parseInt(group, 16));
}

const ipv4 = z.ipv4();
const ipv6 = z.ipv6();
