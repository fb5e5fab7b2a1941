/** A proxy in front that signs people in, such as Cloudflare Access, and adds a JWT to each request. */
import type { JWTPayload } from "jose";
import { anyName } from "../../domain/name_patterns.ts";
import { isPrintableName, nameFault } from "../../domain/printable_name.ts";
import type { JwtHeaderProvider } from "../../domain/provider.ts";
import type { Clock } from "../../jwt/clock.ts";
import type { IssuerKeys } from "../../jwt/keys.ts";
import { audienceFault, jwtEndMs, JwtRefusal, looksLikeJwt, verifyJwt } from "../../jwt/verify.ts";
import { usernameOf } from "../../policies/claims.ts";
import { TokenClaims } from "../../policies/caller_attributes.ts";
import { type Caller, Denial, type Identity } from "../callers/caller.ts";
import type { CallerRequest, Digest } from "../callers/callers.ts";
import { toDenial } from "../callers/jwt.ts";
import type { TokenOwner } from "../callers/tokens.ts";
import { VerifiedTokens } from "../callers/verified_tokens.ts";
import { callerUnknown } from "../caller_errors.ts";

/** What the surroundings lend. */
export interface HeaderProviderContext {
  readonly keys: IssuerKeys;
  readonly clock: Clock;
  readonly digest: Digest;
  /** Whether this provider is still the one in use: what it vouched for ends with it. */
  readonly isInUse: () => boolean;
}

/** Whom a JWT describes, whatever application of the provider's it is for. */
interface EdgeOwner extends TokenOwner {
  readonly payload: JWTPayload;
}

/** Digits of a token's digest that name its session. */
const sessionIdLength = 16;

/** Identifies people by the JWT in a provider's header. */
export class HeaderProvider {
  readonly #provider: JwtHeaderProvider;
  readonly #key: string;
  readonly #context: HeaderProviderContext;
  readonly #verified = new VerifiedTokens<EdgeOwner>();
  /** A request may ask for many services: its JWT is verified for all of them at once. */
  readonly #verifying = new WeakMap<CallerRequest["head"], Promise<EdgeOwner | Denial>>();
  /** Counts changes of the issuer's keys. */
  #edition = 0;

  constructor(provider: JwtHeaderProvider, context: HeaderProviderContext) {
    this.#provider = provider;
    this.#key = provider.header.toLowerCase();
    this.#context = context;
  }

  /** What was verified before must be verified anew: the issuer has other keys. */
  forget(): void {
    this.#edition++;
    this.#verified.clear();
  }

  /**
   * Says whom a request's JWT describes, or why it does not count.
   *
   * @param audience of the service: other applications of the same provider have others
   * @returns undefined if the request has no such header
   */
  identify(
    { head }: CallerRequest,
    audience: string,
  ): Identity | Promise<Identity> | undefined {
    const values = head.fields.filter(({ key }) => key === this.#key);
    const [first, second] = values;
    if (first === undefined) return undefined;
    // Which of two counts would be a guess; a client may have added one.
    if (second !== undefined || !looksLikeJwt(first.value)) return malformed;
    const token = first.value;
    const digest = this.#context.digest(token);
    return digest instanceof Promise
      ? digest.then((digest) => this.#find(head, token, audience, digest))
      : this.#find(head, token, audience, digest);
  }

  #find(
    head: CallerRequest["head"],
    token: string,
    audience: string,
    digest: Uint8Array,
  ): Identity | Promise<Identity> {
    const { clock } = this.#context;
    const id = digest.toHex();
    const known = this.#verified.find(id, clock.monotonicMs());
    if (known) return this.#callerFor(known, audience);
    const verifying = this.#verifying.get(head) ?? this.#verify(token, id);
    this.#verifying.set(head, verifying);
    return verifying.then((owner) =>
      owner instanceof Denial ? owner : this.#callerFor(owner, audience)
    );
  }

  #callerFor({ caller, expiresMs, payload }: EdgeOwner, audience: string): Identity {
    if (this.#context.clock.nowMs() >= expiresMs) return expired;
    const fault = audienceFault(payload, audience, "audience of the service");
    return fault ? toDenial(fault) : caller;
  }

  async #verify(token: string, id: string): Promise<EdgeOwner | Denial> {
    const { keys, clock } = this.#context;
    const { issuer, name } = this.#provider;
    const edition = this.#edition;
    const payload = await verifyJwt(token, (header, jws) => keys.find(header, jws), {
      issuer,
      requiredClaims: ["exp"],
      nowMs: clock.nowMs(),
      names: { issuer: `issuer of provider ${name}`, audience: "audience of the service" },
    });
    if (payload instanceof JwtRefusal) return toDenial(payload);
    const owner = this.#ownerOf(payload, token, id);
    if (owner instanceof Denial) return owner;
    // The key that has verified it may have been withdrawn meanwhile.
    if (edition !== this.#edition) return await this.#verify(token, id);
    this.#verified.add(id, owner, clock.monotonicMs());
    return owner;
  }

  #ownerOf(payload: JWTPayload, token: string, id: string): EdgeOwner | Denial {
    const { name, issuer, claims } = this.#provider;
    const username = usernameOf(payload, claims);
    if (typeof username !== "string") return new Denial("claim", callerUnknown, username.fault);
    if (!isPrintableName(username)) {
      return new Denial("name", callerUnknown, `the name ${nameFault(username)}`);
    }
    const expiresMs = jwtEndMs(payload);
    const isValid = (nowMs: number) => nowMs < expiresMs && this.#context.isInUse();
    const caller: Caller = {
      kind: "edge",
      name: username,
      clusters: anyName,
      grant: { expiresMs, isValid, mayReach: (_cluster, nowMs) => isValid(nowMs) },
      person: {
        verifiedClaims: new TokenClaims(name, payload, claims),
        issuer,
        subject: typeof payload.sub === "string" ? payload.sub : "",
        username,
        sessionId: id.slice(0, sessionIdLength),
        proof: token,
      },
    };
    return { caller, expiresMs, payload };
  }
}

const malformed = new Denial("malformed", callerUnknown);
const expired = new Denial("expired", callerUnknown);
