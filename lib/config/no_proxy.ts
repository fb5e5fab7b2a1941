/** NO_PROXY: hosts that are reached without the environment's proxy. */
import { z } from "zod";
import { addressOfUrl } from "./options/address.ts";
import { type Environment, variableOf } from "./options/environment.ts";

/** A list of exemptions and the variable that holds it. */
export interface NoProxy {
  readonly name: string;
  readonly text: string;
}

/** The list that counts. @throws {ConfigError} for one that is no text */
export function noProxyOf(env: Environment): NoProxy | undefined {
  for (const name of ["NO_PROXY", "no_proxy"]) {
    const text = variableOf(env, name);
    if (text) return { name, text };
  }
  return undefined;
}

/** Entries that are named one by one; a list with more of them is of another kind altogether. */
const maxWarnings = 5;

/** Tells which entries can match nothing, in a line each. */
export function ineffectiveEntries({ name, text }: NoProxy): string[] {
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
    return bits !== "" && isNetwork ? undefined : "is not a network such as 10.0.0.0/8";
  }
  const [, bracketed, bare, port] =
    /^(?:\[([^\]]*)\]|([^:]*))(?::(.*))?$/.exec(bracketIpv6(entry)) ??
      [];
  const name = bracketed ?? bare;
  if (name === undefined) return "is neither a host nor an address";
  if (port !== undefined && !isPort(port)) return "has an invalid port";
  if (addressOf(name) !== undefined) return undefined;
  // A host whose last label is a number is an address, or nothing (WHATWG URL, "ends in a number").
  if (/(?:^|\.)\d+\.?$/.test(name)) return "is not an IP address";
  if (/\P{ASCII}/u.test(name)) return "is not ASCII; write it as xn--…";
  const labels = name.replace(/^\*?\./, "").replace(/\.$/, "");
  if (labels.includes("*")) {
    return 'has "*" within it; give .example.com, or a network such as 10.0.0.0/8';
  }
  return /^[\w-]+(?:\.[\w-]+)*$/.test(labels) ? undefined : "is not a host name";
}

function isPort(text: string): boolean {
  return /^\d{1,5}$/.test(text) && Number(text) <= 65_535;
}

/** Lower case, without brackets and without the dot of a complete name, as `URL` normalises it. */
export function hostOf(url: URL): string {
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
