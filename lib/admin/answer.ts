/** Answers of the admin API: JSON, and never kept by anybody. */
import { dateField } from "../http1/date.ts";
import { field } from "../http1/head.ts";
import type { Exchange } from "../net/exchange.ts";
import type { ApiError } from "./api_error.ts";

const reasons: Readonly<Record<number, string>> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  304: "Not Modified",
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  412: "Precondition Failed",
  413: "Content Too Large",
  421: "Misdirected Request",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
};

/** Answers with a value as JSON; undefined for no body. */
export function answer(
  exchange: Exchange,
  status: number,
  value: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  if (exchange.isOver || exchange.isAnswered) return;
  const text = value === undefined ? "" : `${JSON.stringify(value)}\n`;
  const fields = [
    ...text === "" ? [] : [field("Content-Type", "application/json")],
    field("Cache-Control", "no-store"),
    ...Object.entries(headers).map(([name, content]) => field(name, content)),
    dateField(),
  ];
  exchange.answer(status, reasons[status] ?? "", fields, new TextEncoder().encode(text));
}

/** Answers with an error, in the one form that all of them have. */
export function answerError(exchange: Exchange, { status, body, headers }: ApiError): void {
  answer(exchange, status, body, headers);
}
