import type { Connection } from "../live/session";
import { clockTime, delay } from "../view/format";

interface Words {
  word: string;
  rest: string;
  title: string;
}

export function ConnectionChip({ connection, onReconnect }: { connection: Connection; onReconnect: () => void }) {
  const { word, rest, title } = wordsOf(connection);
  return (
    <div className="connection">
      <span className={`chip chip-${connection.state}`} title={title} data-testid="connection">
        <span className="dot" aria-hidden="true" />
        <span role="status">{word}</span>
        {rest !== "" && <span className="chip-rest">{rest}</span>}
      </span>
      {connection.state === "offline" && (
        <button type="button" className="plain" onClick={onReconnect}>
          Reconnect
        </button>
      )}
    </div>
  );
}

function wordsOf(connection: Connection): Words {
  switch (connection.state) {
    case "connecting":
      return { word: "Connecting", rest: "", title: "Waiting for the first answers" };
    case "live": {
      const seconds = connection.delaySeconds;
      const title = "Every change is pushed to this page; the number is the median delay of the last nine";
      return { word: "Live", rest: seconds === null ? "" : `· ${delay(seconds)}`, title };
    }
    case "behind": {
      const are = connection.missing.length === 1 ? "is" : "are";
      const rest = `: ${connection.missing.join(", ")} ${are} away${asOf(connection.asOf)}`;
      return { word: "Not live", rest, title: "Nothing is lost: it is shown when they are back" };
    }
    case "reconnecting":
      return { word: "Reconnecting", rest: asOf(connection.asOf), title: "Nothing is lost: it is fetched when back" };
    case "offline":
      return { word: "Offline", rest: asOf(connection.asOf), title: "Not connected" };
  }
}

function asOf(ms: number | null): string {
  return ms === null ? "" : `, data as of ${clockTime(ms)}`;
}
