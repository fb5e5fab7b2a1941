/** Has the user of this machine sign in, once for all processes that need it. */
import { hostname } from "node:os";
import type { AccessService } from "../../../config/access_options.ts";
import type { Environment } from "../../../config/options/environment.ts";
import {
  type Authorization,
  type AuthorizationRequest,
  beginAuthorization,
  callbackPath,
  readCallback,
} from "../../../access/authorization.ts";
import { ServiceError } from "../../../access/service_error.ts";
import {
  findSignedIn,
  type SignedIn,
  withSignedIn,
  withUnanswered,
} from "../../../access/token_cache.ts";
import { openBrowser } from "./browser.ts";
import { Loopback, type Outcome } from "./loopback.ts";
import { beginDevice, GrantError, requestTokens } from "./token_client.ts";
import type { TokenStore } from "./token_store.ts";

/** What a sign-in needs. */
export interface SignInContext {
  readonly store: TokenStore;
  /** The host to which the browser is sent first, and where the tokens come from. */
  readonly service: AccessService;
  /** What the token is to be for; the first is what the caller waits for. */
  readonly places: readonly string[];
  /** How long the person has, in milliseconds. */
  readonly timeoutMs: number;
  /** Whether a browser is opened; else the URL is only printed. */
  readonly opensBrowser: boolean;
  /** Whether the browser is on another machine. */
  readonly isDevice: boolean;
  readonly env: Environment;
  /** Tells the person; never on standard output, which may be a program's. */
  readonly say: (line: string) => void;
  readonly signal: AbortSignal;
}

/** How often a process looks whether another has signed in, in milliseconds. */
const pollMs = 200;
/** The number of windows that nobody answered after which the URL is only printed. */
const maxUnanswered = 2;
/** A token that lasts no longer than this is not worth beginning with, in milliseconds. */
const spareMs = 30_000;

/** The name of this program, for the page that asks for consent. */
const program = "culvert access";

/**
 * Signs in, or takes the token of another process that has the person sign in just now.
 *
 * @throws {ServiceError} when nobody signs in in time, or the relay refuses
 */
export async function signIn(context: SignInContext): Promise<SignedIn> {
  const { store, service: { origin }, timeoutMs, signal } = context;
  const deadlineMs = performance.now() + timeoutMs;
  const before = store.read().unanswered[origin] ?? 0;
  for (;;) {
    const unlock = await store.tryLock("sign-in", origin);
    try {
      const found = findFresh(context);
      if (found) return found;
      // Whoever had the lock has waited for the same person, who was asked once.
      const isAsked = (store.read().unanswered[origin] ?? 0) > before;
      if (unlock && !isAsked) return await ask(context);
      if (isAsked || performance.now() > deadlineMs) throw nobodyCame(context);
    } finally {
      unlock?.();
    }
    await wait(pollMs, signal);
  }
}

function findFresh({ store, places }: SignInContext): SignedIn | undefined {
  const found = findSignedIn(store.read(), places[0]!);
  const isWhole = found && places.every((place) => found.places.includes(place));
  return isWhole && found.expiresMs > Date.now() + spareMs ? found : undefined;
}

function nobodyCame({ service, places, timeoutMs }: SignInContext): ServiceError {
  const seconds = Math.round(timeoutMs / 1_000);
  return new ServiceError(
    `${service.name}: nobody has signed in within ${seconds} s; run access login ` +
      `${commandOf(service, places)}, or open ${service.origin}/ to see whether sign-in works`,
    { status: 401 },
  );
}

/** The arguments of `access login` for these places. */
export function commandOf({ origin }: AccessService, places: readonly string[]): string {
  const host = origin.replace(/^https:\/\//, "");
  const clusters = places.flatMap((place) => {
    const id = place.split("/tunnel/")[1];
    return id === undefined ? [] : [`--cluster ${id}`];
  });
  return [host, ...clusters].join(" ");
}

/** What the relay is to bind the token to. */
export function hostsOf(places: readonly string[]): string[] {
  return places.map((place) => {
    const { hostname, pathname } = new URL(place);
    return pathname === "/" ? hostname : pathname;
  });
}

/** The name of this machine, for the page that asks for consent. */
export function machineName(): string {
  try {
    return hostname().slice(0, 64) || "a machine without a name";
  } catch {
    return "a machine without a name"; // It needs a permission of its own.
  }
}

async function ask(context: SignInContext): Promise<SignedIn> {
  const { store, service } = context;
  try {
    const signedIn = await (context.isDevice ? byCode(context) : byBrowser(context));
    await store.change((cache) => withSignedIn(cache, signedIn));
    return signedIn;
  } catch (error) {
    await store.change((cache) => withUnanswered(cache, service.origin));
    throw error;
  }
}

/** Somebody types a code in a browser on another machine. */
async function byCode(context: SignInContext): Promise<SignedIn> {
  const { service, places, timeoutMs, say, signal } = context;
  const deadlineMs = performance.now() + timeoutMs;
  const device = await beginDevice(service, requestOf(context), signal);
  say(`To sign in to ${service.name}, open this URL in any browser:`);
  say(device.verificationUri);
  say(`and type this code there: ${device.userCode}`);
  const form = {
    grant_type: "urn:ietf:params:oauth:grant-type:device_code",
    device_code: device.deviceCode,
  };
  for (;;) {
    if (performance.now() > deadlineMs) throw nobodyCame(context);
    await wait(device.intervalMs, signal);
    if (signal.aborted) throw new ServiceError(`${service.name}: sign-in was stopped`);
    try {
      return await requestTokens(service, form, places, signal);
    } catch (error) {
      const isPending = error instanceof GrantError && error.code === "authorization_pending";
      if (!isPending) throw error;
    }
  }
}

function requestOf({ service: { origin }, places }: SignInContext): AuthorizationRequest {
  return { origin, hosts: hostsOf(places), program, machine: machineName() };
}

/** Somebody signs in in a browser of this machine, which comes back to a port of it. */
async function byBrowser(context: SignInContext): Promise<SignedIn> {
  const { service, timeoutMs, signal } = context;
  const result = Promise.withResolvers<SignedIn>();
  // It may fail before anybody waits for it.
  result.promise.catch(() => {});
  let authorization: Authorization | undefined;
  const loopback = await Loopback.listen((target) =>
    authorization ? receive(context, target, authorization, result) : Promise.resolve(undefined)
  );
  const timer = setTimeout(() => result.reject(nobodyCame(context)), timeoutMs);
  const stop = (): void => result.reject(new ServiceError(`${service.name}: sign-in was stopped`));
  signal.addEventListener("abort", stop);
  try {
    authorization = await beginAuthorization(requestOf(context), loopback.origin + callbackPath);
    show(context, authorization.url);
    return await result.promise;
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
    await loopback.close();
  }
}

function show({ store, service, opensBrowser, env, say }: SignInContext, url: string): void {
  const unanswered = store.read().unanswered[service.origin] ?? 0;
  const isOpened = opensBrowser && unanswered < maxUnanswered && openBrowser(url, env);
  say(
    isOpened
      ? `Opened a browser to sign in to ${service.name}. If you see none, open this URL:`
      : `To sign in to ${service.name}, open this URL on this machine:`,
  );
  say(url);
}

async function receive(
  { service, places, signal }: SignInContext,
  target: string,
  authorization: Authorization,
  { resolve, reject }: PromiseWithResolvers<SignedIn>,
): Promise<Outcome | undefined> {
  const callback = readCallback(target, authorization);
  if (callback.kind === "foreign") return undefined;
  if (callback.kind === "refused") {
    reject(new ServiceError(`${service.name}: the sign-in was cancelled`, { status: 401 }));
    return { isGood: false, text: "The sign-in was cancelled." };
  }
  try {
    const signedIn = await requestTokens(
      service,
      {
        grant_type: "authorization_code",
        code: callback.code,
        code_verifier: authorization.verifier,
        redirect_uri: authorization.redirectUri,
      },
      places,
      signal,
    );
    resolve(signedIn);
    const text = `You are signed in as ${signedIn.username}. You can close this page.`;
    return { isGood: true, text };
  } catch (error) {
    reject(error);
    return { isGood: false, text: "The relay did not grant a token; the program says why." };
  }
}

function wait(ms: number, signal: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  const done = (): void => resolve();
  signal.addEventListener("abort", done);
  return promise.finally(() => {
    clearTimeout(timer);
    signal.removeEventListener("abort", done);
  });
}
