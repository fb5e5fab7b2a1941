/**
 * Impersonation at a Kubernetes API server: the agent verifies who a request is from before it uses its
 * right to act for somebody, so that not whoever can send it requests can be anybody.
 */
import { identityNames, type ImpersonationDemands, isSystemName } from "../domain/identity.ts";
import { isPrintableName } from "../domain/printable_name.ts";
import type { ClaimNames } from "../domain/provider.ts";
import { type Field, field, type RequestHead } from "../http1/head.ts";
import { foldedName } from "../http1/folded_name.ts";
import { type FindKey, JwtRefusal, looksLikeJwt, verifyJwt } from "../jwt/verify.ts";
import { usernameOf } from "../policies/claims.ts";

/** A request that cannot be sent to its target, since it does not prove whom it is from. */
export class ProofError extends Error {
  override readonly name = "ProofError";
}

/** What the surroundings lend. */
export interface ImpersonatorContext {
  readonly find: FindKey;
  /** Milliseconds since 1970. */
  readonly nowMs: () => number;
}

/** Whom to impersonate. */
interface Impersonated {
  readonly user: string;
  readonly groups: readonly string[];
  /** Names the session, for the API server's audit log. */
  readonly session: string | undefined;
}

/** Turns proofs into fields that ask an API server to act for somebody. */
export class Impersonator {
  readonly #demands: ImpersonationDemands;
  readonly #context: ImpersonatorContext;
  readonly #groups: ReadonlySet<string>;

  constructor(demands: ImpersonationDemands, context: ImpersonatorContext) {
    this.#demands = demands;
    this.#context = context;
    this.#groups = new Set(demands.groups);
  }

  /**
   * The fields of a request with those that impersonate whom its proof names, and without the proof.
   *
   * @throws {ProofError} if it proves nobody, or somebody whom this agent does not impersonate
   */
  async fieldsFor({ fields }: RequestHead): Promise<Field[]> {
    const { user, groups, session } = await this.#proven(fields);
    this.#check(user, groups);
    const kept = fields.filter(({ key }) => !isIdentity(foldedName(key)));
    kept.push(field("Impersonate-User", encodeUtf8(user)));
    for (const group of groups) kept.push(field("Impersonate-Group", encodeUtf8(group)));
    if (session) kept.push(field("Impersonate-Extra-culvert.dev%2Fsession", encodeUtf8(session)));
    return kept;
  }

  #proven(fields: readonly Field[]): Promise<Impersonated> {
    return this.#demands.proof === "assertion"
      ? this.#byAssertion(single(fields, identityNames.assertion))
      : this.#byProvider(fields);
  }

  async #byAssertion(token: string): Promise<Impersonated> {
    const { impersonate, sid } = await this.#verify(token, ["exp", "sub"]);
    const { user, groups } = (impersonate ?? {}) as Record<string, unknown>;
    const isWhole = isPrintableName(user) && Array.isArray(groups) && groups.every(isPrintableName);
    if (!isWhole) throw new ProofError("the assertion names no user and groups of the cluster");
    return { user, groups, session: isPrintableName(sid) ? sid : undefined };
  }

  /** The relay says which groups; who it is, the provider says. */
  async #byProvider(fields: readonly Field[]): Promise<Impersonated> {
    const payload = await this.#verify(single(fields, identityNames.proof), ["exp"]);
    const { username, prefix, verifiedEmail } = this.#demands;
    const names: ClaimNames = { username, groups: "groups", verifiedEmail };
    const name = usernameOf(payload, names);
    if (typeof name === "object") {
      throw new ProofError(`the provider's JWT names no person: ${name.fault}`);
    }
    if (!isPrintableName(name)) throw new ProofError("the provider's JWT names no person");
    const listed = single(fields, identityNames.groups);
    const groups = listed === "" ? [] : listed.split(",").map(decodeGroup);
    const { sid } = payload;
    return { user: prefix + name, groups, session: isPrintableName(sid) ? sid : undefined };
  }

  async #verify(token: string, requiredClaims: readonly string[]) {
    if (!looksLikeJwt(token)) throw new ProofError("the proof is not a JWT");
    const { issuer, audience } = this.#demands;
    const payload = await verifyJwt(token, this.#context.find, {
      ...{ issuer, audience, requiredClaims, nowMs: this.#context.nowMs() },
      names: { issuer: "impersonate.issuer", audience: "impersonate.audience" },
    });
    if (!(payload instanceof JwtRefusal)) return payload;
    const { fault, detail } = payload;
    throw new ProofError(`the proof is not valid: ${detail ?? fault}`);
  }

  #check(user: string, groups: readonly string[]): void {
    const { prefix } = this.#demands;
    const system = [user, ...groups].find(isSystemName);
    if (system !== undefined) {
      throw new ProofError('no name that begins with "system:" is impersonated');
    }
    if (!user.startsWith(prefix) || user === prefix) {
      throw new ProofError(`the user does not begin with the prefix ${JSON.stringify(prefix)}`);
    }
    const other = groups.find((group) => !this.#groups.has(group));
    if (other === undefined) return;
    throw new ProofError(`the group ${JSON.stringify(other)} is not among impersonate.groups`);
  }
}

const identityKeys: ReadonlySet<string> = new Set(
  Object.values(identityNames).map((name) => name.toLowerCase()),
);

/** A field that says or asks who somebody is: of the relay's, or for the API server. */
function isIdentity(folded: string): boolean {
  return identityKeys.has(folded) || folded.startsWith("impersonate-") ||
    folded.startsWith("x-remote-");
}

function single(fields: readonly Field[], name: string): string {
  const found = fields.filter(({ key }) => key === name.toLowerCase());
  if (found.length === 1) return found[0]!.value;
  throw new ProofError(`${found.length === 0 ? "no" : "more than one"} ${name}`);
}

function decodeGroup(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch (error) {
    if (error instanceof URIError) throw new ProofError("a group cannot be read");
    throw error;
  }
}

/** Heads are written as ISO-8859-1, and the API server reads UTF-8. */
function encodeUtf8(text: string): string {
  return String.fromCharCode(...new TextEncoder().encode(text));
}
