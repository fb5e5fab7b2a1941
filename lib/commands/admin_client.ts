/** The admin API as the relay's commands use it. */
import type { AdminTarget } from "../config/commands/admin_options.ts";
import { messageOf } from "../message_of.ts";
import type { CommandOutput, CommandTools } from "./command.ts";

/** How long an answer may take, in milliseconds. */
const timeoutMs = 30_000;
/** Items of a list that are asked for at once. */
const pageSize = 500;

/** The relay could not be reached, or refused what it was asked. */
export class AdminFailure extends Error {
  override readonly name = "AdminFailure";
}

// deno-lint-ignore no-explicit-any
type Json = any;

/** Asks one relay. */
export class AdminClient {
  readonly #target: AdminTarget;
  readonly #fetch: typeof fetch;

  constructor(target: AdminTarget, tools: CommandTools) {
    this.#target = target;
    this.#fetch = tools.fetchWith(target.ca);
  }

  /** @throws {AdminFailure} */
  async ask(
    method: string,
    path: string,
    body?: unknown,
    headers: HeadersInit = {},
  ): Promise<Json> {
    const { url, token } = this.#target;
    let response: Response;
    let text: string;
    try {
      response = await this.#fetch(`${url}/admin/v1${path}`, {
        method,
        headers: { ...headers, Authorization: `Bearer ${token}` },
        ...body !== undefined && { body: JSON.stringify(body) },
        // A token must not be taken elsewhere.
        redirect: "error",
        signal: AbortSignal.timeout(timeoutMs),
      });
      text = await response.text();
    } catch (error) {
      throw new AdminFailure(`Could not reach ${url}: ${messageOf(error)}`);
    }
    const value = parse(text);
    if (response.ok && value !== undefined) return value;
    const message = value?.error?.message ?? "this is not a relay's admin listener";
    throw new AdminFailure(`${url} answered ${response.status}: ${message}`);
  }
}

/**
 * Reads a whole list, page by page.
 *
 * @returns the last page, with the items of all
 * @throws {AdminFailure}
 */
export async function askForAll(client: AdminClient, path: string): Promise<Json> {
  const items: Json[] = [];
  const query = new URLSearchParams({ limit: String(pageSize) });
  while (true) {
    const page = await client.ask("GET", `${path}${path.includes("?") ? "&" : "?"}${query}`);
    items.push(...page.items);
    // A relay that knows no pages answers with all there is.
    if (page.continue === undefined) return { ...page, items };
    query.set("continue", page.continue);
  }
}

/** Runs a command that asks a relay; a failure is a line on standard error and exit code 1. */
export async function askingRelay(work: () => Promise<string>): Promise<CommandOutput> {
  try {
    return { text: await work(), warnings: [] };
  } catch (error) {
    if (!(error instanceof AdminFailure)) throw error;
    return { text: "", warnings: [error.message], exitCode: 1 };
  }
}

function parse(text: string): Json {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
