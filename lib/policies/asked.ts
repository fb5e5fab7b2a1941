/** What is asked for, as far as rules about methods and paths go. */
import { isAmbiguousPath, listsPath } from "../domain/paths.ts";
import type { RuleScope } from "../domain/policy.ts";

/**
 * What a policy is asked about: a request; `anything`, to tell whether somebody may open something at
 * all; or a `connection`, which has neither method nor path.
 */
export type Asked = AskedRequest | "anything" | "connection";

/** The method that admits upgrades, as RFC 8441 has it for WebSockets. */
const upgradeMethod = "CONNECT";

/** A request for which a policy is asked. */
export class AskedRequest {
  /** The method as it was sent: methods are case-sensitive (RFC 9110 section 9.1). */
  readonly method: string;
  /** Whether its connection is to carry another protocol, such as WebSocket or SPDY. */
  readonly isUpgrade: boolean;
  readonly #path: string | undefined;
  /** Looked at only where a rule asks for it. */
  #isClear: boolean | undefined;

  /** @param path Without its query; undefined where the request target is not a path. */
  constructor(method: string, path: string | undefined, isUpgrade = false) {
    this.method = method;
    this.isUpgrade = isUpgrade;
    this.#path = path;
  }

  /** The path as it was sent; undefined where servers read it differently. */
  get clearPath(): string | undefined {
    this.#isClear ??= this.#path !== undefined && !isAmbiguousPath(this.#path);
    return this.#isClear ? this.#path : undefined;
  }
}

/** Whether a rule of this scope is about what is asked for. */
export function isInScope({ methods, paths }: RuleScope, asked: Asked): boolean {
  if (asked === "anything" || (!methods && !paths)) return true;
  if (asked === "connection") return false;
  return (!methods || listsMethod(methods, asked)) && (!paths || isBelow(paths, asked));
}

/** What follows an upgrade has no methods: it takes more than the method of the handshake. */
function listsMethod(methods: readonly string[], { method, isUpgrade }: AskedRequest): boolean {
  return methods.includes(method) && (!isUpgrade || methods.includes(upgradeMethod));
}

function isBelow(paths: readonly string[], { clearPath }: AskedRequest): boolean {
  return clearPath !== undefined && listsPath(paths, clearPath);
}
