// Browsers refuse workers to pages that are opened as files. There, the search of the site runs in a hidden frame.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.started = new Promise((resolve, reject) => {
        const start = () => {
          const inside = this.frame.contentWindow;
          inside.postMessage = (data) => this.receive(data);
          const script = inside.document.createElement("script");
          script.src = new URL(url, location).href;
          script.onload = () => resolve(inside);
          script.onerror = reject;
          inside.document.body.append(script);
        };
        this.frame.addEventListener("load", start, { once: true });
      });
      document.body.append(this.frame);
    }

    receive(data) {
      const event = new MessageEvent("message", { data });
      this.onmessage?.(event);
      this.dispatchEvent(event);
    }

    postMessage(data) {
      this.started.then((inside) => inside.dispatchEvent(new inside.MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
