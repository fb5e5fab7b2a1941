/**
 * The HTTP proxy on the agent's way to its relay: `--proxy`, or the variables that Go's and curl's
 * programs share (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY).
 */
import { z } from "zod";
import { ConfigError } from "./config_error.ts";
import { addressOfUrl, formatAddress, isLoopback } from "./options/address.ts";
import type { Kind } from "./options/kinds.ts";
import type { Environment } from "./options/options.ts";

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

/**
 * The proxy that the environment asks for on the way to a `ws:` or `wss:` URL; undefined for none.
 *
 * As in Go's programs, which agents used to be: upper case comes before lower case, and what runs on
 * this machine (`localhost`, a loopback address) is never asked of a proxy.
 *
 * @throws {ConfigError} when the variable that counts here holds no proxy
 */
export function proxyFromEnvironment(env: Environment, destination: URL): Proxy | undefined {
  const scheme = destination.protocol === "wss:" ? "HTTPS_PROXY" : "HTTP_PROXY";
  const names = [scheme, scheme.toLowerCase(), "ALL_PROXY", "all_proxy"];
  const name = names.find((name) => isSet(env[name]));
  if (name === undefined || isLoopback(hostOf(destination))) return undefined;
  if (isExempt(destination, env["NO_PROXY"] || env["no_proxy"] || "")) return undefined;
  const proxy = parseProxy(env[name]!.trim());
  if (typeof proxy === "object") return proxy;
  throw new ConfigError(`Environment variable ${name} ${proxy}`);
}

function isSet(text: string | undefined): boolean {
  return text !== undefined && text.trim() !== "";
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
  return noProxy.split(/[\s,]+/).some((entry) => entry !== "" && matches(entry, host, port));
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
