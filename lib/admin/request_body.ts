/** The body of a request to the admin API. */
import { ConfigError } from "../config/config_error.ts";
import { parseJson } from "../config/entries/json_entries.ts";
import type { Exchange } from "../net/exchange.ts";
import { readBody } from "../net/read_body.ts";
import { ApiError } from "./api_error.ts";

/** The largest body. */
export const maxBodyBytes = 1024 * 1024;
/** How long a body may take. */
const bodyTimeoutMs = 30_000;

/** Reads a body as JSON. @throws {ApiError} 413 or 408 for one that is too large or too slow, 400 for what is no JSON */
export async function readJson(exchange: Exchange): Promise<unknown> {
  const bytes = await readBytes(exchange);
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ApiError(400, "bad_request", "the body is not UTF-8");
  }
  try {
    return parseJson(text, "the body", "a JSON object");
  } catch (error) {
    if (error instanceof ConfigError) throw new ApiError(400, "bad_request", error.message);
    // Nested so deeply that the parser gave up.
    if (error instanceof RangeError) {
      throw new ApiError(400, "bad_request", "the body is nested too deeply");
    }
    throw error;
  }
}

async function readBytes(exchange: Exchange): Promise<Uint8Array> {
  const limits = { maxBytes: maxBodyBytes, timeoutMs: bodyTimeoutMs };
  const body = await readBody(exchange, limits);
  if (body === "cut") throw new ApiError(400, "bad_request", "the request was cut");
  if (body === "too_slow") {
    throw new ApiError(408, "too_slow", `the body must come within ${bodyTimeoutMs / 1_000} s`);
  }
  if (typeof body === "string") {
    throw new ApiError(413, "too_large", `the body must have ${maxBodyBytes} bytes at most`);
  }
  return body;
}
