/** What is sealed on a program's way to its tokens. */
import type { JWTPayload } from "jose";
import { accessTokenPrefix } from "../../callers/credential.ts";
import type { SessionRecord } from "../sessions/sessions.ts";
import type { SignIn } from "../sign_in.ts";
import { randomText, transactionMs } from "../transactions.ts";
import type { ProgramRequest } from "./program_request.ts";

/** How long a program's code counts, in milliseconds. */
export const grantMs = 60_000;
/** How long a token for requests counts, in milliseconds: then its program asks for another. */
export const accessMs = 15 * 60_000;

/** What comes back from a provider belongs to this. */
export interface ProgramState {
  readonly request: ProgramRequest;
  readonly id: string;
  readonly provider: string;
  /** The sign-in under way of the browser on the login host. */
  readonly transaction: string;
  readonly binding: string;
}

/** What a code of a program's is for. */
export interface ProgramGrant {
  readonly id: string;
  readonly session: string;
  readonly challenge: string;
  readonly redirectUri: string;
  readonly expiresMs: number;
}

/** A program's next token is asked for with this. */
export interface ProgramRefresh {
  readonly id: string;
  readonly session: string;
}

/** Seals and opens them; all are for the login host. */
export class ProgramSeals {
  readonly #signIn: SignIn;

  constructor(signIn: SignIn) {
    this.#signIn = signIn;
  }

  /** Seals a request for the form by which its user consents. */
  consent(request: ProgramRequest): Promise<string> {
    return this.#seal("consent", { request }, transactionMs);
  }

  async openConsent(sealed: string): Promise<ProgramRequest | undefined> {
    const claims = await this.#open("consent", sealed);
    return claims?.["request"] as ProgramRequest | undefined;
  }

  /** What comes back from the provider as `state`. */
  state(state: ProgramState): Promise<string> {
    return this.#seal("program", { ...state }, transactionMs);
  }

  async openState(sealed: string): Promise<ProgramState | undefined> {
    return await this.#open("program", sealed) as ProgramState | undefined;
  }

  /** The code for a program that listens. */
  code(session: SessionRecord, { challenge, redirectUri }: ProgramRequest): Promise<string> {
    const claims = { id: randomText(12), session: session.id, challenge, redirectUri };
    return this.#seal("grant", claims, grantMs);
  }

  async openCode(sealed: string): Promise<ProgramGrant | undefined> {
    const claims = await this.#open("grant", sealed);
    return claims && { ...claims as unknown as ProgramGrant, expiresMs: claims.exp! * 1_000 };
  }

  /** The token for requests, and until when it counts, in milliseconds since 1970. */
  async access({ id: sid, expiresMs }: SessionRecord): Promise<{ token: string; untilMs: number }> {
    const nowMs = this.#signIn.context.clock.nowMs();
    const lifetimeMs = Math.min(accessMs, expiresMs - nowMs);
    const token = accessTokenPrefix + await this.#seal("access", { sid }, lifetimeMs);
    return { token, untilMs: nowMs + lifetimeMs };
  }

  /** The token for the next one: it counts once. */
  refresh({ id: session, expiresMs }: SessionRecord): Promise<string> {
    const lifetimeMs = expiresMs - this.#signIn.context.clock.nowMs();
    return this.#seal("refresh", { id: randomText(12), session }, lifetimeMs);
  }

  async openRefresh(sealed: string): Promise<ProgramRefresh | undefined> {
    return await this.#open("refresh", sealed) as ProgramRefresh | undefined;
  }

  #seal(
    purpose: "consent" | "program" | "grant" | "access" | "refresh",
    claims: JWTPayload,
    lifetimeMs: number,
  ): Promise<string> {
    const { context: { keys }, loginHostname } = this.#signIn;
    return keys.seal(purpose, loginHostname, claims, lifetimeMs);
  }

  #open(
    purpose: "consent" | "program" | "grant" | "refresh",
    sealed: string,
  ): Promise<JWTPayload | undefined> {
    const { context: { keys }, loginHostname } = this.#signIn;
    return keys.open(purpose, loginHostname, sealed);
  }
}
