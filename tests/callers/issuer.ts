/** An issuer of JWTs on loopback: keys that it signs with, and the URL where the public ones are. */
import { type CryptoKey, exportJWK, generateKeyPair, type JWTPayload, SignJWT } from "jose";

/** What the URL answers with. */
export type KeysAnswer = "keys" | "error" | "not JSON" | "too long" | "redirect" | "silence";

/** A key pair and the id by which JWTs name it. */
export interface IssuerKey {
  readonly id: string;
  readonly alg: string;
  readonly privateKey: CryptoKey;
  readonly publicJwk: Record<string, unknown>;
}

/** The name in `iss`. */
export const issuerName = "https://issuer.example";
/** The relay's name in `aud`. */
export const audience = "culvert-relay";

/** Makes a key pair. */
export async function makeKey(id: string, alg = "ES256"): Promise<IssuerKey> {
  const { privateKey, publicKey } = await generateKeyPair(alg, { extractable: true });
  return { id, alg, privateKey, publicJwk: { ...await exportJWK(publicKey), kid: id, alg } };
}

/** Serves public keys until it is disposed. */
export class Issuer implements AsyncDisposable {
  /** The keys that are published. */
  keys: readonly IssuerKey[];
  answer: KeysAnswer = "keys";
  /** Requests for the keys so far. */
  fetches = 0;
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #stopping = new AbortController();

  constructor(keys: readonly IssuerKey[], port = 0) {
    this.keys = keys;
    const options = { hostname: "127.0.0.1", port, onListen() {} };
    this.#server = Deno.serve(options, () => this.#respond());
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}/keys`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#server.shutdown();
  }

  async #respond(): Promise<Response> {
    this.fetches++;
    switch (this.answer) {
      case "keys":
        return Response.json({ keys: this.keys.map(({ publicJwk }) => publicJwk) });
      case "error":
        return new Response("down", { status: 503 });
      case "not JSON":
        return new Response("<html>");
      case "too long":
        return new Response(`{"keys":[],"x":"${"x".repeat(300_000)}"}`);
      case "redirect":
        return new Response(null, { status: 302, headers: { Location: "/other" } });
      case "silence": {
        const { promise, resolve } = Promise.withResolvers<Response>();
        this.#stopping.signal.addEventListener("abort", () => resolve(new Response("")));
        return await promise;
      }
    }
  }
}

/** What a JWT has besides its claims; times in seconds from now. */
export interface JwtTimes {
  readonly expiresIn?: number | undefined;
  readonly validIn?: number | undefined;
}

/** A JWT as the relay accepts it, apart from what `claims` and `times` change; `undefined` drops one. */
export async function sign(
  key: IssuerKey,
  claims: Readonly<Record<string, unknown>> = {},
  { expiresIn = 300, validIn }: JwtTimes = {},
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const payload = {
    iss: issuerName,
    aud: audience,
    sub: "someone",
    exp: now + expiresIn,
    ...(validIn !== undefined && { nbf: now + validIn }),
    ...claims,
  };
  return await new SignJWT(payload as JWTPayload).setProtectedHeader({ alg: key.alg, kid: key.id })
    .sign(key.privateKey);
}

/** Base64 as in URLs, of JSON. */
export function encodePart(value: unknown): string {
  return new TextEncoder().encode(JSON.stringify(value)).toBase64({
    alphabet: "base64url",
    omitPadding: true,
  });
}
