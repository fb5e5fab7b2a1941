/**
 * What a program asks for that signs somebody in: an authorization request (RFC 6749 section 4.1.1) of
 * a native app (RFC 8252), with PKCE (RFC 7636) and the hosts that its token is to be for.
 */
import { isPrintableName } from "../../../domain/printable_name.ts";
import { canonicalHost } from "../../services/canonical_host.ts";

/** The request, as it was checked. */
export interface ProgramRequest {
  /** Program and machine as the program says: a person is asked whether that is theirs. */
  readonly program: string;
  readonly machine: string;
  /** Hostnames of services, and `/tunnel/ID` for clusters. */
  readonly hosts: readonly string[];
  /** Digest of the code verifier; undefined for a program that waits for a code of its own. */
  readonly challenge?: string | undefined;
  /** Where the program listens; undefined likewise. */
  readonly redirectUri?: string | undefined;
  readonly state?: string | undefined;
  /** Names the sign-in of a program that waits for a code of its own. */
  readonly device?: string | undefined;
}

/** A request that can't be taken; the sentence completes "The program's request". */
export class ProgramFault {
  readonly message: string;

  constructor(message: string) {
    this.message = message;
  }
}

/** Hosts of one token. */
const maxHosts = 32;
const maxNameUnits = 64;
/** A hash of SHA-256 in base64url. */
const challengePattern = /^[\w-]{43}$/;
const statePattern = /^[\w-]{16,128}$/;
/** A program listens on an address, as `localhost` may lead elsewhere (RFC 8252 section 8.3). */
const redirectPattern = /^http:\/\/(?:127\.0\.0\.1|\[::1\]):(\d{1,5})\/callback$/;

/** Reads the query of a program that listens for the answer. */
export function readAuthorization(query: URLSearchParams): ProgramRequest | ProgramFault {
  const repeated = [...new Set(query.keys())]
    .find((name) => name !== "host" && query.getAll(name).length > 1);
  if (repeated !== undefined) return new ProgramFault("gives a parameter twice");
  if (query.get("response_type") !== "code") return new ProgramFault("asks for no code");
  const named = readNamed(query);
  if (named instanceof ProgramFault) return named;
  const challenge = query.get("code_challenge") ?? "";
  const isHashed = query.get("code_challenge_method") === "S256";
  if (!isHashed || !challengePattern.test(challenge)) {
    return new ProgramFault("has no code challenge of method S256");
  }
  const state = query.get("state") ?? "";
  if (!statePattern.test(state)) return new ProgramFault("has no state");
  const redirectUri = query.get("redirect_uri") ?? "";
  const port = Number(redirectPattern.exec(redirectUri)?.[1] ?? 0);
  if (port < 1 || port > 65_535) {
    return new ProgramFault("leads back to no port of this machine");
  }
  return { ...named, challenge, state, redirectUri };
}

/** Reads who asks, and for which hosts. */
export function readNamed(query: URLSearchParams): ProgramRequest | ProgramFault {
  const program = query.get("program") ?? "";
  const machine = query.get("machine") ?? "";
  if (!isName(program) || !isName(machine)) {
    return new ProgramFault("does not say which program on which machine asks");
  }
  const hosts = [...new Set(query.getAll("host"))];
  if (hosts.length === 0 || hosts.length > maxHosts) {
    return new ProgramFault(`must name 1 to ${maxHosts} hosts`);
  }
  const isKnown = hosts.every((host) => isTunnelPath(host) || canonicalHost(host) === host);
  return isKnown ? { program, machine, hosts } : new ProgramFault("names no host");
}

function isName(text: string): boolean {
  return text.length <= maxNameUnits && isPrintableName(text);
}

/** Whether a host of a token is a cluster under its path instead. */
export function isTunnelPath(host: string): boolean {
  return /^\/tunnel\/[\w.-]{1,253}$/.test(host);
}
