/** A request to an HTTP API, without its URL. */
export interface ApiRequest {
  readonly method: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string;
  /** Ends it early. */
  readonly signal: AbortSignal;
}
