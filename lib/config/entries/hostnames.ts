/** Hostnames of services, and of what agents may claim. */
import { z } from "zod";
import type { Hostname } from "../../domain/hostname.ts";

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const PATTERN = new RegExp(`^((?:\\*\\.)?${LABEL}(?:\\.${LABEL})*)(?::(\\d{1,5}))?$`);
const MAX_CHARACTERS = 253;

const HOSTNAME_EXPECTED =
  'must be a hostname such as "dash.example.com" or "*.team.example.com", with ":PORT" for the URLs ' +
  "that the relay makes if it needs one";
const HOSTNAMES_EXPECTED = "must be a list of at least one hostname";

/** One hostname, in any case. */
export const hostname: z.ZodType<Hostname> = z.string(HOSTNAME_EXPECTED)
  .transform((text, context) => {
    const found = parseHostname(text);
    if (found) return found;
    context.addIssue({ code: "custom", message: HOSTNAME_EXPECTED });
    return z.NEVER;
  });

/** A list of them. */
export const hostnames: z.ZodType<Hostname[]> = z.array(hostname, HOSTNAMES_EXPECTED)
  .min(1, HOSTNAMES_EXPECTED).max(100, "must be a list of at most 100 hostnames")
  .superRefine((list, context) => {
    const names = list.map(({ name }) => name);
    const index = names.findIndex((name, at) => names.indexOf(name) < at);
    if (index === -1) return;
    const message = `is ${JSON.stringify(names[index])} again; case is ignored`;
    context.addIssue({ code: "custom", path: [index], message });
  });

function parseHostname(text: string): Hostname | undefined {
  const match = PATTERN.exec(text.toLowerCase());
  const [, name = "", digits] = match ?? [];
  const port = digits === undefined ? undefined : Number(digits);
  // Digits alone at the end make an address (WHATWG URL), which has no certificate and no DNS.
  const isAddress = /(?:^|\.)\d+$/.test(name);
  if (!match || name.length > MAX_CHARACTERS || isAddress) return undefined;
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  return { name, port };
}

/** Whether a wildcard covers a name, or two names are the same. */
export function overlaps(a: string, b: string): boolean {
  return a === b || covers(a, b) || covers(b, a);
}

/** Whether a wildcard stands for a name: for one label in front of it. */
export function covers(wildcard: string, name: string): boolean {
  if (!wildcard.startsWith("*.") || name.startsWith("*.")) return false;
  const dot = name.indexOf(".");
  return dot !== -1 && name.slice(dot) === wildcard.slice(1);
}
