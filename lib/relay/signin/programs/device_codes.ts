/**
 * Sign-ins of programs whose person has a browser on another machine (RFC 8628): the person types a
 * code at the login host, and the program asks every few seconds what has become of it.
 */
import type { LoginHost } from "../login_host.ts";
import type { SharedStore } from "../sessions/session_store.ts";
import { randomText } from "../transactions.ts";
import type { ProgramRequest } from "./program_request.ts";

/** How long a code counts, in milliseconds. */
export const deviceMs = 10 * 60_000;
/** How often a program may ask, in seconds. */
export const deviceIntervalSeconds = 5;
/** Codes that wait for their persons at a time in this process. */
export const maxDevices = 10_000;

/** Keeps texts for a while, for this relay or for all that share it. */
export interface DeviceStore {
  /** @returns whether there was room */
  put(key: string, value: string, lifetimeMs: number): Promise<boolean>;
  get(key: string): Promise<string | undefined>;
  /** The text, which is gone then. */
  take(key: string): Promise<string | undefined>;
}

/** Keeps device codes in this process. */
export class MemoryDevices implements DeviceStore {
  readonly #nowMs: () => number;
  readonly #kept = new Map<string, { readonly value: string; readonly untilMs: number }>();

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  put(key: string, value: string, lifetimeMs: number): Promise<boolean> {
    const now = this.#nowMs();
    for (const [old, { untilMs }] of this.#kept) if (untilMs <= now) this.#kept.delete(old);
    // Each code has two entries.
    const hasRoom = this.#kept.has(key) || this.#kept.size < maxDevices * 2;
    if (hasRoom) this.#kept.set(key, { value, untilMs: now + lifetimeMs });
    return Promise.resolve(hasRoom);
  }

  get(key: string): Promise<string | undefined> {
    return Promise.resolve(this.#valueAt(key));
  }

  take(key: string): Promise<string | undefined> {
    const value = this.#valueAt(key);
    this.#kept.delete(key);
    return Promise.resolve(value);
  }

  #valueAt(key: string): string | undefined {
    const kept = this.#kept.get(key);
    return kept && this.#nowMs() < kept.untilMs ? kept.value : undefined;
  }
}

/** Keeps device codes in the store that relays share. */
export class SharedDevices implements DeviceStore {
  readonly #store: SharedStore;

  constructor(store: SharedStore) {
    this.#store = store;
  }

  async put(key: string, value: string, lifetimeMs: number): Promise<boolean> {
    await this.#store.send(["SET", keyOf(key), value, "PX", String(lifetimeMs)]);
    return true;
  }

  async get(key: string): Promise<string | undefined> {
    return textIn(await this.#store.send(["GET", keyOf(key)]));
  }

  async take(key: string): Promise<string | undefined> {
    const value = await this.get(key);
    // If several requests read it at the same time, only one of them deletes it.
    const deleted = await this.#store.send(["DEL", keyOf(key)]);
    return Number(deleted) === 1 ? value : undefined;
  }
}

function keyOf(key: string): string {
  return `culvert:people:device:${key}`;
}

function textIn(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

/** A sign-in that waits for its person. */
export interface Device {
  readonly id: string;
  readonly request: ProgramRequest;
}

/** What has become of one. */
export type DeviceOutcome =
  | { readonly kind: "pending" | "denied" | "gone" }
  | { readonly kind: "signed-in"; readonly session: string };

/** Letters that are no vowels, so that no word comes of them, and none that looks like another. */
const letters = "BCDFGHJKLMNPQRSTVWXZ";
const codeLength = 8;

/** Begins and ends them. */
export class DeviceCodes {
  readonly #login: LoginHost;
  readonly #store: DeviceStore;

  constructor(login: LoginHost, store: DeviceStore) {
    this.#login = login;
    this.#store = store;
  }

  /** @returns the codes of person and program; undefined while too many wait */
  async begin(request: ProgramRequest): Promise<
    { readonly userCode: string; readonly deviceCode: string } | undefined
  > {
    const id = randomText(16);
    const userCode = makeUserCode();
    const device: Device = { id, request };
    const isKept = await this.#store.put(`state ${id}`, "pending", deviceMs) &&
      await this.#store.put(`code ${userCode}`, await this.#sealed({ ...device }), deviceMs);
    if (!isKept) return undefined;
    return { userCode, deviceCode: await this.#sealed({ id }) };
  }

  /** The sign-in of a code as a person types it. */
  async find(typed: string): Promise<Device | undefined> {
    const sealed = await this.#store.get(`code ${normalised(typed)}`);
    return sealed === undefined ? undefined : await this.#opened(sealed) as Device | undefined;
  }

  /** A person has come. @param session undefined for somebody who says no. @returns whether it waited */
  async end(id: string, session: string | undefined): Promise<boolean> {
    if (await this.#store.get(`state ${id}`) !== "pending") return false;
    const outcome = session === undefined ? "denied" : `session ${session}`;
    return await this.#store.put(`state ${id}`, outcome, deviceMs);
  }

  /** What has become of it; a session is told once. */
  async outcome(deviceCode: string): Promise<DeviceOutcome> {
    const claims = await this.#opened(deviceCode);
    const key = `state ${String(claims?.["id"])}`;
    const state = await this.#store.get(key);
    if (state === undefined) return { kind: "gone" };
    if (state === "pending" || state === "denied") return { kind: state };
    const taken = await this.#store.take(key);
    if (taken === undefined) return { kind: "gone" };
    return { kind: "signed-in", session: taken.replace(/^session /, "") };
  }

  async #sealed(claims: Record<string, unknown>): Promise<string> {
    const { context: { keys }, loginHostname } = this.#login;
    return await keys.seal("device", loginHostname, claims, deviceMs);
  }

  async #opened(sealed: string): Promise<Readonly<Record<string, unknown>> | undefined> {
    const { context: { keys }, loginHostname } = this.#login;
    return await keys.open("device", loginHostname, sealed);
  }
}

function makeUserCode(): string {
  const code: string[] = [];
  // A byte over the last multiple of the letters' number would favour the first of them.
  const limit = 256 - 256 % letters.length;
  while (code.length < codeLength) {
    const [byte] = crypto.getRandomValues(new Uint8Array(1));
    if (byte! < limit) code.push(letters[byte! % letters.length]!);
  }
  return code.join("");
}

/** A user code as people read it: in two halves. */
export function shownCode(userCode: string): string {
  return `${userCode.slice(0, codeLength / 2)}-${userCode.slice(codeLength / 2)}`;
}

function normalised(typed: string): string {
  return typed.toUpperCase().replaceAll(/[^A-Z]/g, "").slice(0, 32);
}
