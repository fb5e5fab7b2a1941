/** Tokens of the admin API: whose each is. */
import type { AdminToken } from "../domain/admin.ts";
import { digestOf, DigestTable } from "../relay/digests.ts";
import { Scope } from "./scope.ts";

/** Finds tokens in constant time; the list may be replaced. */
export class AdminTokens {
  #table: DigestTable<Scope> = new DigestTable([]);

  /**
   * Hashes what is not hashed already, and uses these from now on. A token whose rights are
   * unchanged keeps its Scope object, by which open requests see that they may go on.
   */
  async replace(tokens: readonly AdminToken[]): Promise<void> {
    const names = tokens.map(({ name }) => name);
    const before = this.#table;
    const entries = await Promise.all(tokens.map(async (token) => {
      const digest = await digestOf(token);
      const known = before.find(digest);
      const scope = new Scope(withoutSecret(token), names);
      return { digest, value: known?.equals(scope) ? known : scope };
    }));
    this.#table = new DigestTable(entries);
  }

  /** What the token with this digest may do; `expired` for one that is not good any more. */
  find(digest: Uint8Array, nowMs: number): Scope | "unknown" | "expired" {
    const scope = this.#table.find(digest);
    if (!scope) return "unknown";
    return nowMs < (scope.token.expiresMs ?? Infinity) ? scope : "expired";
  }
}

function withoutSecret({ token: _, ...rest }: AdminToken): AdminToken {
  return rest;
}
