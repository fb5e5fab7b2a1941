/**
 * The HTTP proxy on the agent's way to its relay: `--proxy`, `--proxy-file`, or the variables that Go's
 * and curl's programs share (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY, NO_PROXY).
 */
import { z } from "zod";
import { ConfigError } from "./config_error.ts";
import { hostOf, ineffectiveEntries, isExempt, noProxyOf } from "./no_proxy.ts";
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

/**
 * Takes a proxy from a text that may end in a line break, as a file does. Undefined is none: the text
 * is `none`.
 *
 * @throws {ConfigError} for what is no proxy's URL; the message has nothing of the text
 */
export function checkedProxy(text: string, origin: string): Proxy | undefined {
  const found = text.replace(/[\r\n]+$/, "");
  if (found === "none") return undefined;
  const proxy = /[\r\n]/.test(found) ? PROXY_EXPECTED : parseProxy(found);
  if (typeof proxy === "object") return proxy;
  throw new ConfigError(`${origin} ${proxy}`);
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
  const warnings = exempted === undefined ? [] : ineffectiveEntries(exempted);
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
